# Turnout as a Nomad service job. docs/deployment.md explains each block.
#
#   nomad var put nomad/jobs/turnout routes=@model_store/routes.yaml
#   nomad job run -var image=REGISTRY/turnout:0.1.0 nomad.hcl

variable "image" {
  description = "The image that the Dockerfile builds, with its tag or digest."
  type        = string
}

variable "datacenters" {
  description = "Where it may run."
  type        = list(string)
  default     = ["*"]
}

variable "count" {
  description = "How many gateways. They share nothing but the store."
  type        = number
  default     = 2
}

job "turnout" {
  type        = "service"
  datacenters = var.datacenters

  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }

  # Losing a node should not lose every gateway.
  spread {
    attribute = "${node.unique.id}"
  }

  # One new gateway beside the old ones first. `nomad deployment promote` lets the rest follow, one at a time.
  update {
    canary            = 1
    max_parallel      = 1
    health_check      = "checks"
    min_healthy_time  = "30s"
    healthy_deadline  = "5m"
    progress_deadline = "10m"
    auto_revert       = true
    auto_promote      = false
  }

  group "gateway" {
    count = var.count

    network {
      port "grpc" {
        to = 8001
      }
      port "metrics" {
        to = 9464
      }
    }

    # The store, made on the client's disk or mounted there, under the same name on every client.
    volume "models" {
      type      = "host"
      source    = "turnout-models"
      read_only = true
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "fail"
    }

    reschedule {
      delay          = "30s"
      delay_function = "exponential"
      max_delay      = "10m"
      unlimited      = true
    }

    service {
      name     = "turnout"
      provider = "consul"
      port     = "grpc"
      tags     = ["grpc"]

      # grpc.health.v1: SERVING once every required route could answer, NOT_SERVING from SIGTERM on. No grpc_service: the whole
      # server is asked about; naming a route, such as route/ranking, asks about that alone.
      check {
        name     = "serving"
        type     = "grpc"
        port     = "grpc"
        interval = "5s"
        timeout  = "2s"

        check_restart {
          limit = 6
          grace = "2m"
        }
      }
    }

    service {
      name     = "turnout-metrics"
      provider = "consul"
      port     = "metrics"
      tags     = ["prometheus"]

      check {
        name     = "metrics"
        type     = "http"
        path     = "/metrics"
        interval = "30s"
        timeout  = "5s"
      }
    }

    task "turnout" {
      driver = "docker"

      config {
        image = var.image
        ports = ["grpc", "metrics"]
        args = [
          "serve",
          "--store", "/models",
          "--routes", "/local/routes.yaml",
          "--listen", "0.0.0.0:8001",
          "--metrics", "0.0.0.0:9464",
          "--grace", "5",
        ]
        cap_drop = ["all"]
      }

      volume_mount {
        volume      = "models"
        destination = "/models"
        read_only   = true
      }

      # In place of both volume blocks: fetch the store as an archive, and say "--store", "/local/models" above. A new
      # version is then a new deployment, since an artifact is fetched once, before the task starts. The bucket is the
      # path's first part; only AWS's own hosts may have it in their names. Where the service asks for a region, add
      # "?region=REGION".
      #
      # artifact {
      #   source      = "s3::https://s3.example.com/BUCKET/turnout/store-42.tar.gz"
      #   destination = "local/models"
      #   options {
      #     checksum = "sha256:..."
      #   }
      # }

      # The route table. Nomad writes it whole when the variable changes, and the gateway notices by itself.
      template {
        data        = "{{ with nomadVar \"nomad/jobs/turnout\" }}{{ .routes }}{{ end }}"
        destination = "local/routes.yaml"
        change_mode = "noop"
        perms       = "644"
      }

      # Without a collector, take the endpoint out: then nothing is sent.
      env {
        OTEL_EXPORTER_OTLP_ENDPOINT = "http://${attr.unique.network.ip-address}:4317"
        OTEL_SERVICE_NAME           = "turnout"
        OTEL_RESOURCE_ATTRIBUTES    = "service.instance.id=${NOMAD_ALLOC_ID},service.namespace=${NOMAD_NAMESPACE}"
        OTEL_TRACES_SAMPLER         = "parentbased_traceidratio"
        OTEL_TRACES_SAMPLER_ARG     = "0.01"
      }

      # Starting values. Look at the process's real use under your traffic, and set them by that.
      resources {
        cpu        = 1000
        memory     = 1024
        memory_max = 2048
      }

      # Out of the catalogue, then five seconds for callers to notice, then SIGTERM, then --grace seconds to finish calls.
      # What is slow or stuck then has 25 seconds more. Nomad's clients cap kill_timeout at max_kill_timeout, 30 seconds by
      # default: with a longer --grace both must grow, or the journal's last segment may be cut off.
      shutdown_delay = "5s"
      kill_signal    = "SIGTERM"
      kill_timeout   = "30s"
    }
  }
}
