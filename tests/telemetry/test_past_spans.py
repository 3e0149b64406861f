"""Spans that are over when they are made."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link

from turnout_server.telemetry.past_spans import PastSpans


def test_a_past_span_is_a_child_of_its_parents_trace() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    with provider.get_tracer("t").start_as_current_span("parent") as opened:
        parent = opened.get_span_context()
    past = PastSpans(SimpleSpanProcessor(exporter), provider, "1.2.3")
    for name in ("queue", "run"):
        past.record(name, parent, 10, 20, {"rows": 3}, [Link(parent)])
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["queue", "run"]
    assert len({span.context.span_id for span in spans} | {parent.span_id}) == 3
    (span, _) = spans
    assert span.parent == parent
    assert (span.context.trace_id, span.context.trace_flags) == (parent.trace_id, parent.trace_flags)
    assert (span.start_time, span.end_time, dict(span.attributes or {})) == (10, 20, {"rows": 3})
    assert [link.context for link in span.links] == [parent]
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("turnout", "1.2.3")
    provider.shutdown()
