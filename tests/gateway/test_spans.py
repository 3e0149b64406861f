"""Trace context is read as the standard says, and a span that nobody records costs and says nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tests.records import record
from turnout_server.execution.batch_run import Execution
from turnout_server.gateway import spans
from turnout_server.gateway.spans import Spans, parse_traceparent
from turnout_server.vocabulary.record import Timing

TRACE_ID, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{CALLER}-01"

hexadecimal = "0123456789abcdef"
traceparents = st.one_of(
    st.text(),
    st.builds(
        "{}-{}-{}-{}{}".format,
        st.sampled_from(["00", "01", "fe", "ff", "0", "0A"]),
        st.one_of(st.text(hexadecimal, min_size=32, max_size=32), st.just("0" * 32), st.just("A" * 32)),
        st.one_of(st.text(hexadecimal, min_size=16, max_size=16), st.just("0" * 16), st.just("_" * 16)),
        st.sampled_from(["00", "01", "02", "ff", "0"]),
        st.sampled_from(["", "-more", " ", "\n"]),
    ),
)


def by_the_library(traceparent: str) -> trace.SpanContext:
    found = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    return trace.get_current_span(found).get_span_context()


@given(traceparents)
def test_trace_context_is_read_as_the_library_reads_it(traceparent: str) -> None:
    ours, theirs = parse_traceparent(traceparent), by_the_library(traceparent)
    assert ours.is_valid == theirs.is_valid
    if ours.is_valid:
        assert ours == theirs


def test_tracestate_is_passed_on() -> None:
    assert dict(parse_traceparent(SAMPLED, "a=1,b=2").trace_state) == {"a": "1", "b": "2"}


@pytest.mark.parametrize("metadata", [{}, {"traceparent": "nonsense"}, {"traceparent": SAMPLED}])
def test_without_tracing_nothing_is_recorded(metadata: dict[str, str]) -> None:
    tracing = Spans()
    span = tracing.start("a.B/C", metadata)
    tracing.read(record(timing=Timing(1, 1, 1, 1, 1, 1)), span)
    tracing.batch_ran(Execution([], 1, 1, 1, 1, [], None), 1)
    assert tracing.current() is None
    tracing.end(span, "INTERNAL", "X")
    assert not tracing.enabled
    assert not span.is_recording()


def test_without_tracing_the_callers_trace_is_still_known() -> None:
    span = Spans().start("a.B/C", {"traceparent": SAMPLED})
    token = spans.enter(span)
    assert trace.get_current_span().get_span_context().trace_id == int(TRACE_ID, 16)
    spans.leave(token)
    assert not trace.get_current_span().get_span_context().is_valid


def test_nothing_is_entered_where_there_is_no_trace() -> None:
    token: Any = spans.enter(Spans().start("a.B/C", {}))
    assert token is None
    spans.leave(token)


def test_callers_cannot_fill_the_log_with_headers_that_are_too_long(caplog: pytest.LogCaptureFixture) -> None:
    assert not parse_traceparent("0" * 513).is_valid
    assert not parse_traceparent(SAMPLED, "a=1," * 200).trace_state
    assert parse_traceparent("01" + SAMPLED[2:], "a=1," * 200).is_valid
    assert not caplog.records
