"""One server span a call, with children for the queue and the run. Knows OpenTelemetry's API, not its SDK.

Attribute names of calls are OpenTelemetry's semantic conventions for gRPC; those that begin with `turnout.` are ours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextvars import Token
from typing import Protocol

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.span import TraceFlags, TraceState

from turnout_server.engine.tracing import Sampling, Take
from turnout_server.execution.batch_run import Execution
from turnout_server.vocabulary.attributes import (
    ASSIGNED,
    ERROR_REASON,
    EXPERIMENT,
    MODEL,
    REASON,
    REQUEST_ID,
    ROUTE,
    ROWS,
    RPC_METHOD,
    RPC_STATUS,
    RPC_SYSTEM,
    TARGET,
    VERSION,
)
from turnout_server.vocabulary.record import Record, Timing

MESSAGE_SPAN = "turnout.message"
QUEUE_SPAN = "turnout.queue"
RUN_SPAN = "turnout.run"
SERVER_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"},
)
"""The status codes that the semantic conventions count as errors of a server."""

_ROOT = Context()
_PROPAGATOR = TraceContextTextMapPropagator()
_TRACEPARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

_LONGEST = 512
"""Characters of a header of trace context. Of longer ones the library writes a line into the log, for each call."""


class Recorder(Protocol):
    """Takes spans that are over."""

    def record(
        self,
        name: str,
        parent: SpanContext,
        start_ns: int,
        end_ns: int,
        attributes: Mapping[str, str | int],
        links: Sequence[Link],
    ) -> None:
        """Record a child of *parent*, which is recorded itself; times are in nanoseconds since the epoch."""


class Native(Protocol):
    """Sends the spans that the native data plane makes."""

    unsent: int
    """Spans that were lost since they could not be sent."""

    def sampling(self) -> Sampling | None:
        """Return which calls it is to trace; None where only Python can make the spans that are wanted."""

    def follow(self, take: Take) -> None:
        """Send what *take* returns, from now on. Once."""


class Spans:
    """Makes spans, or as good as nothing when tracing is off."""

    __slots__ = ("_follows_parent", "_recorder", "_tracer", "native")

    def __init__(
        self,
        tracer: trace.Tracer | None = None,
        recorder: Recorder | None = None,
        *,
        follows_parent: bool = False,
        native: Native | None = None,
    ) -> None:
        """Make a maker of spans.

        Args:
            tracer: makes the spans of calls; None turns tracing off.
            recorder: takes the spans of queues and runs; None leaves them out.
            follows_parent: whether a caller that does not sample its trace settles it for us too.
            native: sends the spans of the native data plane; None where there can be none.
        """
        self.native = native
        self._tracer = tracer
        self._recorder = recorder
        self._follows_parent = follows_parent or tracer is None

    @property
    def enabled(self) -> bool:
        """Whether any span is ever recorded."""
        return self._tracer is not None

    def start(self, method: str, metadata: Mapping[str, str]) -> Span:
        """Start the span of a call, as a child of the caller's span if `traceparent` names one.

        A span that is not recorded still carries the caller's trace id, for the log.

        Args:
            method: `package.Service/Method`, as registered.
            metadata: the call's, names in lower case.
        """
        traceparent = metadata.get("traceparent")
        if traceparent is None:
            return INVALID_SPAN if self._tracer is None else self._record(method, _ROOT)
        parent = parse_traceparent(traceparent, metadata.get("tracestate", ""))
        if self._follows_parent and not parent.trace_flags & TraceFlags.SAMPLED and parent.is_valid:
            return NonRecordingSpan(parent)
        if self._tracer is None:
            return NonRecordingSpan(parent)
        return self._record(method, trace.set_span_in_context(NonRecordingSpan(parent), _ROOT))

    def _record(self, method: str, parent: Context) -> Span:
        assert self._tracer is not None
        attributes = {RPC_SYSTEM: "grpc", RPC_METHOD: method}
        return self._tracer.start_span(method, context=parent, kind=SpanKind.SERVER, attributes=attributes)

    def read(self, record: Record, span: Span) -> None:
        """Say on the *span* of a request's call who answered and why, and how long it waited."""
        decision, timing = record.decision, record.timing
        if decision is None or not decision.available or not span.is_recording():
            return
        attributes: dict[str, str | int] = {
            ROUTE: decision.route,
            TARGET: decision.target,
            REASON: decision.reason.value,
            MODEL: decision.model,
            VERSION: decision.version,
            ASSIGNED: decision.assigned,
            REQUEST_ID: record.request_id,
        }
        if decision.experiment:
            attributes[EXPERIMENT] = decision.experiment
        if timing is not None:
            attributes[ROWS] = timing.rows
        span.set_attributes(attributes)
        if timing is not None and timing.started_ns:
            self.record_queue(span, timing)

    def record_queue(self, parent: Span, timing: Timing) -> None:
        """Record, afterwards, how long a request waited."""
        if self._recorder is not None:
            started_ns = timing.started_ns + _epoch_offset_ns()
            self._recorder.record(
                QUEUE_SPAN, parent.get_span_context(), started_ns - timing.queue_ns, started_ns, {}, ()
            )

    def batch_ran(self, execution: Execution, rows: int) -> None:
        """Record, afterwards, the run of a batch: the child of its first recorded request, linked to all of them."""
        if self._recorder is None:
            return
        recorded = [item.span for item in execution.items if isinstance(item.span, SpanContext)]
        if recorded:
            started_ns = execution.started_ns + execution.input_ns + _epoch_offset_ns()
            links = [Link(request) for request in recorded]
            ended_ns = started_ns + execution.infer_ns
            self._recorder.record(RUN_SPAN, recorded[0], started_ns, ended_ns, {ROWS: rows}, links)

    def current(self) -> SpanContext | None:
        """Return the context of the span of the call that is being handled, if that is recorded."""
        if self._tracer is None:
            return None
        span = trace.get_current_span()
        return span.get_span_context() if span.is_recording() else None

    def passed_on(self) -> tuple[str, str] | None:
        """Return that span as `traceparent` and `tracestate`, for whoever makes others below it."""
        span = self.current()
        if span is None:
            return None
        ids = trace.format_trace_id(span.trace_id), trace.format_span_id(span.span_id)
        return f"00-{ids[0]}-{ids[1]}-{span.trace_flags:02x}", span.trace_state.to_header()

    def end(self, span: Span, code: str, reason: str = "") -> None:
        """End a call's span.

        Args:
            span: what `start` returned.
            code: the call's gRPC status code by name.
            reason: the error's stable reason, if there was one.
        """
        if not span.is_recording():
            return
        span.set_attribute(RPC_STATUS, code)
        if reason:
            span.set_attribute(ERROR_REASON, reason)
        if code in SERVER_FAULTS:
            span.set_attribute("error.type", code)
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def start_message(self) -> Span:
        """Start the span of one message of a stream, a child of the current one, if that is recorded."""
        if self._tracer is None or not trace.get_current_span().is_recording():
            return INVALID_SPAN
        return self._tracer.start_span(MESSAGE_SPAN)

    def end_message(self, span: Span, code: str, reason: str = "") -> None:
        """End it. One that failed is an error whoever's fault it was: no status of the call's will tell of it.

        Args:
            span: what `start_message` returned.
            code: how the message would have ended as a call, by a gRPC status code's name.
            reason: the error's stable reason, if there was one.
        """
        if not span.is_recording():
            return
        span.set_attribute(RPC_STATUS, code)
        if reason:
            span.set_attributes({ERROR_REASON: reason, "error.type": code})
            span.set_status(Status(StatusCode.ERROR, reason))
        span.end()


def enter(span: Span) -> Token[Context] | None:
    """Make *span* the current one of this task, for what is logged and called in it; undo it with `leave`."""
    return None if span is INVALID_SPAN else context.attach(trace.set_span_in_context(span))


def leave(token: Token[Context] | None) -> None:
    """Undo `enter`."""
    if token is not None:
        context.detach(token)


def parse_traceparent(traceparent: str, tracestate: str = "") -> SpanContext:
    """Read W3C trace context (https://www.w3.org/TR/trace-context/); what is not valid gives an invalid context.

    The version of today, in its one spelling, is read here at a tenth of what the library takes; it reads all others.
    """
    if len(tracestate) > _LONGEST:
        tracestate = ""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        if len(traceparent) > _LONGEST:
            return INVALID_SPAN.get_span_context()
        carrier = {"traceparent": traceparent, "tracestate": tracestate}
        return trace.get_current_span(_PROPAGATOR.extract(carrier, _ROOT)).get_span_context()
    trace_id, span_id, flags = found.groups()
    return SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(flags, 16)),
        trace_state=TraceState.from_header([tracestate]) if tracestate else None,
    )


def _epoch_offset_ns() -> int:
    """Return what to add to `time.monotonic_ns` to get nanoseconds since the epoch."""
    return time.time_ns() - time.monotonic_ns()
