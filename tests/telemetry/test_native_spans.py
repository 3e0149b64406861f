"""Spans that come written reach the collector as the SDK's own do."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from turnout_server.config import TelemetryConfig
from turnout_server.instruments.instruments import Instruments
from turnout_server.telemetry.native_spans import Written, WrittenSpanExporter
from turnout_server.telemetry.otlp import exporting


def written(*names: str) -> tuple[int, bytes]:
    return len(names), ScopeSpans(spans=[Span(name=name) for name in names]).SerializeToString()


class Source:
    """Gives what it was given; a batch that is not full only to whoever asks for the rest."""

    def __init__(self) -> None:
        self.full: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self.rest: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()

    def __call__(self, rest: bool) -> tuple[int, bytes] | None:
        for waiting in (self.full, self.rest) if rest else (self.full,):
            try:
                return waiting.get_nowait()
            except queue.Empty:
                continue
        return None


def wait(collector: Any) -> None:
    """Wait until something has come."""
    deadline = time.monotonic() + 10
    while not collector.traces:
        assert time.monotonic() < deadline


def names(collector: Any) -> list[list[str]]:
    """Of each request to the collector."""
    return [
        [span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
        for request in collector.traces
    ]


def test_full_batches_leave_soon_and_all_others_at_the_end(
    collector: Any, attributes: Callable[[Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    source = Source()
    with exporting(TelemetryConfig(otlp_endpoint=collector.url), Instruments(), "1.2.3") as spans:
        assert spans.native is not None
        assert spans.native.sampling() is not None
        span = spans.start("a.B/C", {})
        spans.native.follow(source)
        source.rest.put(written("late"))
        source.full.put(written("one", "two"))
        wait(collector)
        assert names(collector) == [["one", "two"]]
        spans.end(span, "OK")
    assert sorted(names(collector)) == [["a.B/C"], ["late"], ["one", "two"]]
    resources = [request.resource_spans[0] for request in collector.traces]
    said = [attributes(resource.resource.attributes) for resource in resources]
    assert said[0]["service.version"] == "1.2.3"
    assert said[0] == said[1] == said[2]
    assert {(one.scope_spans[0].scope.name, one.scope_spans[0].scope.version) for one in resources} == {
        ("turnout", "1.2.3")
    }
    assert len({(one.schema_url, one.scope_spans[0].schema_url) for one in resources}) == 1


def test_what_is_no_batch_keeps_no_other_from_leaving(collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    source = Source()
    with exporting(TelemetryConfig(otlp_endpoint=collector.url), Instruments()) as spans:
        assert spans.native is not None
        spans.native.follow(source)
        source.full.put((1, b"\xff"))
        source.full.put(written("one"))
        wait(collector)
        assert spans.native.unsent == 1
    assert names(collector) == [["one"]]


def test_spans_that_the_exporter_gives_up_are_counted(collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    source, send = Source(), WrittenSpanExporter.export

    def export(self: WrittenSpanExporter, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if isinstance(spans, Written) and spans.spans > 1:
            return SpanExportResult.FAILURE
        return send(self, spans)

    monkeypatch.setattr(WrittenSpanExporter, "export", export)
    with exporting(TelemetryConfig(otlp_endpoint=collector.url), Instruments()) as spans:
        assert spans.native is not None
        spans.native.follow(source)
        for batch in (written("one", "two"), written("three"), written("four", "five", "six")):
            source.full.put(batch)
        wait(collector)  # once all is to end, the first failure is the last one
    assert (names(collector), spans.native.unsent) == ([["three"]], 5)
