from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """An OTLP receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.traces: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self.exports: list[metrics_service_pb2.ExportMetricsServiceRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.url = ""
        server = self._server = grpc.server(ThreadPoolExecutor(2))
        services: list[tuple[Any, str]] = [
            (trace_service_pb2_grpc, "TraceService"),
            (metrics_service_pb2_grpc, "MetricsService"),
        ]
        for module, service in services:

            def export(request: Any, context: grpc.ServicerContext, service: str = service) -> Any:
                return self._take(service, request, context)

            servicer = type(service, (), {"Export": staticmethod(export)})()
            getattr(module, f"add_{service}Servicer_to_server")(servicer, server)
        self.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()

    def _take(self, service: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata()})
        if service == "TraceService":
            self.traces.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()
        self.exports.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def close(self) -> None:
        self._server.stop(None).wait()

    @property
    def spans(self) -> dict[str, Span]:
        """By name."""
        return {
            span.name: span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    @property
    def resource(self) -> dict[str, Any]:
        return attributes(self.traces[-1].resource_spans[0].resource.attributes)

    @property
    def metrics(self) -> dict[str, Metric]:
        """Of the last export, by name."""
        return {
            metric.name: metric
            for resource in self.exports[-1].resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def attributes(pairs: Any) -> dict[str, Any]:
    def plain(pair: KeyValue) -> Any:
        return getattr(pair.value, str(pair.value.WhichOneof("value")))

    return {pair.key: plain(pair) for pair in pairs}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(name="attributes")
def attributes_fixture() -> Callable[[Any], dict[str, Any]]:
    return attributes


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine's, and no provider that outlives the test."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Whatever a test sets up, it takes down."""
    before = set(threading.enumerate())
    yield
    left = {thread for thread in set(threading.enumerate()) - before if "ThreadPoolExecutor" not in thread.name}
    for thread in left:
        thread.join(5)
    assert not [thread for thread in left if thread.is_alive()]
