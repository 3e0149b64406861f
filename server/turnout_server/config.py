"""The process's whole configuration, frozen: defaults, then a YAML file, then the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from turnout_server.vocabulary.errors import ConfigurationError
from turnout_server.vocabulary.names import Name

MOST = 1 << 48
"""No number that counts something is larger: the engine, like the kernel, has 64 bits for it and multiplies."""
MOST_S = 1e6
"""No time is longer, in seconds: some eleven days. Sockets wait 24 at most, and none for ever."""
LONGEST_MESSAGE = (1 << 31) - 1
"""What protobuf and gRPC can carry, in bytes."""
NOT_YAML = (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What PyYAML raises where a text cannot be read: what it makes values with does not look first (`!!bool x`,
`!!map [a]`, 2026-13-45, a number of too many digits)."""
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=MOST_S)]
Period = Annotated[float, msgspec.Meta(gt=0, le=MOST_S)]
LEAST_MEMORY = 1 << 20
"""With less, hardly a connection fits, in bytes."""
LEAST_TRIAL_MB = 512
"""With less, not even ONNX Runtime starts."""
DataPlaneName = Literal["auto", "engine", "python"]
Answers = Literal["raw", "as_sent"]
ErrorForm = Literal["trailers_only", "headers_and_trailers"]


class TelemetryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the process says of itself, and where to."""

    metrics: str | None = "127.0.0.1:9464"
    """HOST:PORT that serves Prometheus text; None for none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""
    otlp_endpoint: str | None = None
    """A collector's OTLP/gRPC address; OTEL_EXPORTER_OTLP_ENDPOINT says the same. None sends nothing."""
    sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """The share of new traces that are recorded; None leaves it to OTEL_TRACES_SAMPLER."""


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where models come from and which of them to load."""

    path: str = "model_store"
    routes: str | None = None
    """A route table outside the store, in place of the store's `routes.yaml`."""
    poll_s: Period = 1.0
    """How often the store is looked at, in seconds."""
    latest: Count = 1
    """How many of each model's newest versions to load, besides those that labels and routes name."""
    keep_warm_s: Seconds = 300.0
    """How long a version that a label or a route has left stays loaded, in seconds: going back needs no load then."""
    keep_warm_versions: Count = 4
    """How many versions are kept so at most; those that were left last."""
    loaders: Count = 0
    """How many versions may load at the same time; 0 is one a core."""
    load_timeout_s: Period = 120.0
    """How long a step of loading a version may take, in seconds: its digests, its check, opening it, its first runs."""
    load_memory_mb: Annotated[int, msgspec.Meta(ge=LEAST_TRIAL_MB, le=MOST >> 20)] | None = None
    """How many megabytes trying a version out may take; None for half of the machine's or the container's."""


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much a client may ask for, and how much work may wait."""

    max_message_bytes: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_MESSAGE)] = 16 * 1024 * 1024
    max_message_values: Positive = 1 << 21
    """Values in one message: fields, and packed numbers that are no floats. A message within it counts as 32. Protobuf
    takes up to 64 MiB for so many."""
    max_compression_ratio: Positive = 256
    """How many times as large a compressed message may get, beyond 4 MiB. The engine holds to it; grpcio has no such
    bound. Neither deflate nor gzip can do more than 1,032."""
    memory_bytes: Annotated[int, msgspec.Meta(ge=LEAST_MEMORY, le=MOST)] | None = None
    """What all that callers make the process hold may take together, in bytes: calls, requests, what is made of them,
    answers that are not read. A fourth of it is for connections, 32 KiB each, and as much for what each may hold
    whatever the others do; a fourth is for who comes first, and one for runs. None for a fourth of the machine's or the
    container's memory, and no more than 4 GiB. With the engine."""
    max_rows: Positive = 16_384
    """Rows in one request, unless the version's manifest says otherwise (`signature.max_rows`)."""
    max_elements: Positive = 16_777_216
    """Elements of all inputs of one request together, likewise (`signature.max_elements`)."""
    run_timeout_s: Period = 30.0
    """How long one run may take, in seconds, unless the version's manifest says otherwise (`runtime.run_timeout_s`)."""
    queue_rows: Positive = 65_536
    """Rows that may wait for one version."""
    queue_bytes: Positive = 256 * 1024 * 1024
    """Bytes of input that may wait for one version."""
    queue_total_rows: Positive = 262_144
    """Rows that may wait for all versions together."""
    queue_total_bytes: Positive = 512 * 1024 * 1024
    """Bytes of input that may wait for all versions together."""
    queue_wait_ms: Annotated[float, msgspec.Meta(ge=0)] = 50.0
    """How long a request may have to wait for its run, as estimated, in milliseconds; beyond that it is refused."""
    queue_requests: Count = 64
    """Requests that may wait for one version however long that takes: callers that wait for their answers."""
    mirrors_in_flight: Count = 16
    """Copies that may be under way at once; more are dropped."""
    concurrent_calls: Positive = 10_000
    """Calls in progress at once; more are refused."""
    connection_calls: Positive = 256
    """Calls in progress of one connection, and never more than three quarters of all."""
    watches: Positive = 1_000
    """Calls of `Health/Watch` at once, and never more than `concurrent_calls`; they last."""
    request_s: Period = 30.0
    """How long a request may take to come, in seconds, and a second more for each KiB of it, or for each 64 KiB of
    one of more than 256 KiB. With the engine."""
    stream_silence_s: Period = 600.0
    """How long a stream's client may say nothing while nothing of its is under way, in seconds."""

    @property
    def most_of_one(self) -> int:
        """How many calls one connection may have in progress: a share, never all."""
        return min(self.connection_calls, _share(self.concurrent_calls))

    @property
    def most_silent(self) -> int:
        """How many streams may be silent at once: the rest is for calls that have something to say."""
        return _share(self.concurrent_calls)


def _share(places: int) -> int:
    return places - places // 4


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one model has of its own, all its versions, in place of the limits that hold for every model."""

    queue_wait_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    queue_requests: Count | None = None
    queue_rows: Positive | None = None
    queue_bytes: Positive | None = None

    def over(self, limits: LimitsConfig) -> LimitsConfig:
        """Return *limits* with what this model has of its own."""
        own = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(limits, **own)


class SchedulingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where models run."""

    workers: Count = 0
    """Runs in threads at once when one version alone has work; 0 is one a core, and one more.
    Other versions get threads beyond."""
    inline_below_us: Annotated[float, msgspec.Meta(ge=0)] = 200.0
    """A batch that should run for less than this many microseconds, as measured, runs on the event loop itself.

    With the engine, one that should take up to four times as long, and 5 ms at most, runs on the reactor where that was
    asked for no other version lately, unless more waits and a core is idle.
    """
    max_batch_rows: Positive = 64
    """Rows of a batch at most, unless the version's manifest says otherwise; 1 runs every request by itself."""
    max_batch_delay_us: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    """How many microseconds a request may be kept waiting for company when it could run, likewise."""


class JournalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where records of what was served are kept."""

    path: str | None = None
    """A directory, made where it is missing; None keeps no journal."""
    key_file: str | None = None
    """The secret that units are hashed with, which a fleet has to share; None makes one inside the journal."""
    instance: str | None = None
    """What this gateway is called in records; None takes the host's name."""
    ring_records: Positive = 65_536
    """Records that may wait to be written; more are dropped, and counted."""
    rotate_s: Period = 60.0
    """How old a segment's first record may get before the segment is finished, in seconds."""
    rotate_bytes: Positive = 64 * 1024 * 1024
    """How large a segment may get, in bytes as they lie in memory."""


class OutcomesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What units did later. It is kept where a journal is."""

    remember_days: Annotated[float, msgspec.Meta(ge=1, le=366)] = 14.0
    """How long a gateway knows the ids of outcomes at least, in days, so that it tells what it has already."""


class HealthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the gateway should get traffic."""

    required_routes: Literal["all"] | tuple[Name, ...] = "all"
    """The routes that must have been able to answer once before the gateway is SERVING."""


class OpenInferenceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the Open Inference Protocol is spoken, where it leaves that to the server."""

    answers: Answers = "raw"
    """The form of tensors in answers: `raw`, as Triton's clients expect them; or `as_sent`, that of the request."""


class OnnxConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What graphs may be made of."""

    extensions: bool | Literal["auto"] = "auto"
    """Whether graphs may have operators of onnxruntime-extensions, such as tokenizers: `auto` where that is installed,
    true if it has to be."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything."""

    listen: str = "127.0.0.1:8001"
    """HOST:PORT for gRPC; port 0 picks a free one."""
    transport: Literal["native", "grpcio"] | None = None
    """What `data_plane` was called: `native` is its `auto`, `grpcio` its `python`. Not taken after this release."""
    data_plane: DataPlaneName = "auto"
    """What carries calls and inferences: the engine, or Python; `auto` is the engine where it is installed."""
    errors: ErrorForm = "trailers_only"
    """How errors travel: headers and trailers in one, as gRPC has it; or apart, for proxies that lose the former."""
    store: StoreConfig = StoreConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    limits: LimitsConfig = LimitsConfig()
    models: dict[Name, ModelConfig] = {}
    """By a model's name, what is its own."""
    scheduling: SchedulingConfig = SchedulingConfig()
    journal: JournalConfig = JournalConfig()
    outcomes: OutcomesConfig = OutcomesConfig()
    open_inference: OpenInferenceConfig = OpenInferenceConfig()
    onnx: OnnxConfig = OnnxConfig()
    health: HealthConfig = HealthConfig()
    allow_changes: bool = False
    """Whether clients may move labels, replace the route table, and load and unload models."""
    allow_shared_memory: bool = False
    """Whether clients on this machine may pass tensors in system shared memory."""
    grace_s: Seconds = 30.0
    """How long calls in progress may take to finish after SIGTERM."""

    @property
    def outdated(self) -> str:
        """One line on a setting that will not be taken for long; empty where there is none."""
        if self.transport is None:
            return ""
        return f"transport: {self.transport} is data_plane: {_DATA_PLANES[self.transport]} now; say that instead"


_DATA_PLANES: Mapping[str, DataPlaneName] = {"native": "auto", "grpcio": "python"}
"""By what the older key says."""


def load(file: Path | None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read the configuration.

    Args:
        file: a YAML file with the fields of `Config`; None for none.
        overrides: values that win over the file's, keyed by dotted path (`store.path`).

    Raises:
        ConfigurationError: the file cannot be read, or something in it is unknown or of the wrong type. The message
            names the file and the place.
    """
    document: Any = {}
    if file is not None:
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ConfigurationError(f"{file}: {error.strerror}") from error
        except NOT_YAML as error:
            raise ConfigurationError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(document, dict):
            raise ConfigurationError(f"{file}: expected a mapping at the top")
    for path, value in (overrides or {}).items():
        *parents, last = path.split(".")
        section = document
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise ConfigurationError(f"{file or 'command line'}: $.{parent}: expected a mapping")
        section[last] = value
    try:
        config = msgspec.convert(document, Config)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter for half a surrogate pair
        raise ConfigurationError(f"{file or 'command line'}: {error}") from error
    if config.transport is not None:
        config = msgspec.structs.replace(config, data_plane=_data_plane(config, str(file or "command line")))
    parse_address(config.listen, "listen")
    if config.telemetry.metrics is not None:
        parse_address(config.telemetry.metrics, "metrics")
    return config


def _data_plane(config: Config, place: str) -> DataPlaneName:
    """Return what both keys say together: `auto` leaves it to the other."""
    older = _DATA_PLANES[config.transport or "native"]
    if older == "auto":
        return config.data_plane
    if config.data_plane not in ("auto", older):
        raise ConfigurationError(
            f"{place}: transport: {config.transport} is data_plane: {older} now, and contradicts data_plane: "
            f"{config.data_plane}; leave transport out"
        )
    return older


def parse_address(text: str, what: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 host stands in brackets, which the result leaves out.

    Raises:
        ConfigurationError: it is not HOST:PORT with a port from 0 to 65535.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"{what}: found {text!r}; expected HOST:PORT, such as 127.0.0.1:8001")
    return host, int(port)


def format_address(host: str, port: int) -> str:
    """Return HOST:PORT, which `parse_address` takes apart again."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
