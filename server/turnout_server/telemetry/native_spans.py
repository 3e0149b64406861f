"""Spans that the native data plane makes: they come written, in batches, and leave by the SDK's exporter."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

from turnout_server.engine.tracing import Sampling, Take
from turnout_server.telemetry.sampling import sampling_of

LOOK_S = 0.1
"""How often it is asked whether a batch is full, in seconds."""

_log = structlog.get_logger("turnout.telemetry")


class Written(list[ReadableSpan]):
    """Spans that are written already. To whoever counts them they are a list, and so many."""

    def __init__(self, request: ExportTraceServiceRequest, count: int) -> None:
        super().__init__()
        self.request = request
        self.spans = count


class WrittenSpanExporter(OTLPSpanExporter):
    """The SDK's exporter, for spans that are written already too, and for two threads."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._one_at_a_time = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send *spans*, or what is `Written`."""
        # A failure makes the exporter close its channel, under whoever else sends on it.
        with self._one_at_a_time:
            return super().export(spans)

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return data.request if isinstance(data, Written) else super()._translate_data(data)

    def _count_data(self, data: Sequence[ReadableSpan]) -> int:
        return data.spans if isinstance(data, Written) else super()._count_data(data)


class NativeSpans:
    """Sends the native data plane's spans, once it is told of one, from a thread of its own."""

    def __init__(
        self,
        exporter: WrittenSpanExporter,
        provider: TracerProvider,
        processor: SpanProcessor,
        version: str,
        delay_s: float,
    ) -> None:
        """Make a sender that does nothing yet.

        Args:
            exporter: sends them.
            provider: whose resource and sampling they have.
            processor: takes Python's spans.
            version: Turnout's.
            delay_s: how long a span may wait for others, in seconds.
        """
        self._exporter = exporter
        self._provider = provider
        self._processor = processor
        self._delay_s = delay_s
        example = ReadableSpan(
            "",
            SpanContext(1, 1, is_remote=False),
            resource=provider.resource,
            instrumentation_scope=InstrumentationScope("turnout", version),
        )
        self._template = ExportTraceServiceRequest()
        self._template.resource_spans.extend(_shell(example))
        self.unsent = 0
        """Spans that were lost since they could not be sent."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def sampling(self) -> Sampling | None:
        """Return what the native data plane has to know; None if only Python can make the spans that are wanted."""
        return sampling_of(self._provider, self._processor)

    def follow(self, take: Take) -> None:
        """Send what *take* returns, until `close`. Once."""
        self._thread = threading.Thread(target=self._send, args=(take,), name="native-spans", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send what is left. That may take until the exporter is shut down."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _send(self, take: Take) -> None:
        due = time.monotonic() + self._delay_s
        while not self._stop.wait(min(LOOK_S, self._delay_s)):
            rest = time.monotonic() >= due
            if rest:
                due = time.monotonic() + self._delay_s
            self._send_all(take, rest)
        self._send_all(take, True)

    def _send_all(self, take: Take, rest: bool) -> None:
        while (batch := take(rest)) is not None:
            count, spans = batch
            try:
                request = ExportTraceServiceRequest()
                request.CopyFrom(self._template)
                request.resource_spans[0].scope_spans[0].MergeFromString(spans)
                result = self._exporter.export(Written(request, count))
            except Exception:
                _log.exception("spans could not be sent")
                result = SpanExportResult.FAILURE
            if result is not SpanExportResult.SUCCESS:
                self.unsent += count
                if self._stop.is_set():
                    return  # there is no time for the others


def _shell(example: ReadableSpan) -> Sequence[Any]:
    """Return what stands around spans like *example*, without any."""
    shell = encode_spans([example]).resource_spans
    del shell[0].scope_spans[0].spans[:]
    return shell
