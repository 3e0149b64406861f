"""Traces and metrics to an OpenTelemetry collector, over OTLP/gRPC. With no collector configured, nothing is set up."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_SCHEDULE_DELAY
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, ParentBasedTraceIdRatio, Sampler

from turnout_server.config import TelemetryConfig
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.families import Readable
from turnout_server.telemetry.collector import wanted
from turnout_server.telemetry.native_spans import NativeSpans, WrittenSpanExporter
from turnout_server.telemetry.otlp_metrics import WithInstruments, observe_process
from turnout_server.telemetry.past_spans import PastSpans
from turnout_server.telemetry.sampling import number_of
from turnout_server.vocabulary.errors import ConfigurationError

CLOSING_S = 3.0
"""How long the last spans and metrics may take to be sent."""
_DELAY_MS = 5000
"""How long a span may wait for others to leave with, in milliseconds; the SDK's own number."""
_ABORTING_S = 1.0
"""How long an export that was broken off may take to notice."""
_EXPORTER_LOGGER = "opentelemetry.exporter.otlp.proto.grpc.exporter"

_log = structlog.get_logger("turnout.telemetry")


class _Pipeline(NamedTuple):
    """One signal on its way out."""

    shutdown: Callable[[], None]
    """Sends what is left."""
    exporter: OTLPSpanExporter | OTLPMetricExporter


@contextmanager
def exporting(config: TelemetryConfig, instruments: Readable, version: str = "") -> Iterator[Spans]:
    """Send traces and metrics to the collector that *config* or an `OTEL_*` variable names; yield the maker of spans.

    On leaving, what is left is sent, within `CLOSING_S` seconds.

    Raises:
        ConfigurationError: an `OTEL_*` variable has a value that cannot be used.
    """
    resource = resource_of(version)
    pipelines: list[_Pipeline] = []
    spans = Spans()
    try:
        if wanted("TRACES", config):
            pipeline, spans = _traces(config, resource, version)
            pipelines.append(pipeline)
        if wanted("METRICS", config):
            pipelines.append(_metrics(config, resource, instruments))
    except Exception as error:
        # The SDK reads its variables while its parts are made, and each has errors of its own.
        _close(pipelines)
        raise ConfigurationError(f"OpenTelemetry cannot be set up: {error}") from error
    try:
        yield spans
    finally:
        _close(pipelines)


def resource_of(version: str) -> Resource:
    """Return who is speaking; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` have the last word."""
    ours = {"service.name": "turnout", "service.instance.id": str(uuid.uuid4())}
    if version:
        ours["service.version"] = version
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _traces(config: TelemetryConfig, resource: Resource, version: str) -> tuple[_Pipeline, Spans]:
    exporter = WrittenSpanExporter(endpoint=config.otlp_endpoint)
    provider = TracerProvider(sampler=_sampler(config), resource=resource, shutdown_on_exit=False)
    processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)
    follows_parent = isinstance(provider.sampler, ParentBased)
    recorder = PastSpans(processor, provider, version)
    delay_s = number_of(OTEL_BSP_SCHEDULE_DELAY, _DELAY_MS) / 1e3
    native = NativeSpans(exporter, provider, processor, version, delay_s)

    def shutdown() -> None:
        native.close()
        provider.shutdown()

    tracer = provider.get_tracer("turnout", version)
    return _Pipeline(shutdown, exporter), Spans(tracer, recorder, follows_parent=follows_parent, native=native)


def _sampler(config: TelemetryConfig) -> Sampler | None:
    """Return the sampler that is configured; None leaves it to `OTEL_TRACES_SAMPLER`."""
    return None if config.sample_ratio is None else ParentBasedTraceIdRatio(config.sample_ratio)


def _metrics(config: TelemetryConfig, resource: Resource, instruments: Readable) -> _Pipeline:
    exporter = OTLPMetricExporter(endpoint=config.otlp_endpoint)
    reader = PeriodicExportingMetricReader(WithInstruments(exporter, instruments))
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    observe_process(provider)
    return _Pipeline(provider.shutdown, exporter)


def _close(pipelines: list[_Pipeline]) -> None:
    """Send what is left, all signals at once; break off what takes too long, since the SDK itself may wait a minute."""
    closers = [threading.Thread(target=pipeline.shutdown, daemon=True) for pipeline in pipelines]
    for closer in closers:
        closer.start()
    deadline = time.monotonic() + CLOSING_S
    for closer in closers:
        closer.join(max(0.0, deadline - time.monotonic()))
    late = [pair for pair in zip(closers, pipelines, strict=True) if pair[0].is_alive()]
    if not late:
        return
    _log.warning("the collector did not answer; the last traces and metrics are lost", waited_s=CLOSING_S)
    library = logging.getLogger(_EXPORTER_LOGGER)
    library.disabled = True
    try:
        for _, pipeline in late:
            pipeline.exporter.shutdown()
        for closer, _ in late:
            closer.join(_ABORTING_S)
    finally:
        library.disabled = False
