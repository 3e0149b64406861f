"""A collector of OpenTelemetry's, for gateways that export."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """A collector: takes what is exported over OTLP/gRPC, and keeps it."""

    def __init__(self, server: grpc.Server) -> None:
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self.metric_names: set[str] = set()
        server.add_generic_rpc_handlers((self._service("trace"), self._service("metrics")))
        self.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"

    def _service(self, signal: str) -> grpc.GenericRpcHandler:
        module, take = {
            "trace": (trace_service_pb2, self._take_spans),
            "metrics": (metrics_service_pb2, self._take_metrics),
        }[signal]
        (service,) = module.DESCRIPTOR.services_by_name.values()
        request = getattr(module, f"Export{signal.capitalize()}ServiceRequest")
        answer = getattr(module, f"Export{signal.capitalize()}ServiceResponse")()

        def export(raw: bytes, context: grpc.ServicerContext) -> bytes:
            with self._lock:
                take(request.FromString(raw))
            return bytes(answer.SerializeToString())

        return grpc.method_handlers_generic_handler(
            service.full_name, {"Export": grpc.unary_unary_rpc_method_handler(export)}
        )

    def _take_spans(self, request: Any) -> None:
        for resource in request.resource_spans:
            self.resources.append({one.key: one.value.string_value for one in resource.resource.attributes})
            self._spans.extend(span for scope in resource.scope_spans for span in scope.spans)

    def _take_metrics(self, request: Any) -> None:
        scopes = (scope for resource in request.resource_metrics for scope in resource.scope_metrics)
        self.metric_names |= {metric.name for scope in scopes for metric in scope.metrics}

    def of_trace(self, trace_id: str) -> list[Span]:
        """Return the spans of one trace, as far as they have come in."""
        with self._lock:
            return [span for span in self._spans if span.trace_id.hex() == trace_id]

    def all(self) -> list[Span]:
        """Return all spans, as far as they have come in."""
        with self._lock:
            return list(self._spans)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector."""
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    found = Collector(server)
    server.start()
    try:
        yield found
    finally:
        server.stop(0).wait()


def attributes(span: Span) -> dict[str, Any]:
    """Return a span's attributes as plain values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
