"""What two planes export of one call, in a form in which it can be compared."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.differential.calls import Call
from tests.e2e.collector import attributes

_PLAIN = re.compile("(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?")


class Trace(NamedTuple):
    """The spans of one call."""

    id: str
    """Of the trace, in hexadecimal."""
    request_ids: frozenset[str]
    """What its requests are called in records."""
    text: str
    """All that does not depend on time, or on ids of the process's own."""


def traces(spans: Sequence[Span]) -> list[Trace]:
    """Return *spans*, call by call."""
    children: dict[bytes, list[Span]] = defaultdict(list)
    for span in spans:
        if span.kind != Span.SPAN_KIND_SERVER:
            children[span.parent_span_id].append(span)
    calls = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    return [_trace(span, children) for span in calls]


def trace_of(call: Call) -> str:
    """Return the id of the trace that *call* names; what is no such name is no trace's."""
    return dict(call.metadata).get("traceparent", "")[3:35]  # type: ignore[return-value]


def is_plain(call: Call) -> bool:
    """Say whether all of the trace context that *call* has is as ordinary writers leave it."""
    said = dict(call.metadata)
    state = said.get("tracestate", "")
    return bool(_PLAIN.fullmatch(str(said.get("traceparent", "")))) and state in ("", "vendor=1")


def _trace(call: Span, children: Mapping[bytes, Sequence[Span]]) -> Trace:
    messages = [span for span in children[call.span_id] if span.name == "turnout.message"]
    named = {attributes(span).get("turnout.request.id") for span in (call, *messages)}
    return Trace(call.trace_id.hex(), frozenset(named - {None}), _tree(call, call, children))


def _tree(span: Span, call: Span, children: Mapping[bytes, Sequence[Span]]) -> str:
    below = sorted(_tree(child, call, children) for child in children[span.span_id])
    return "\n  ".join([_text(span, call), *below])


def _text(span: Span, call: Span) -> str:
    is_remote = span is call and bool(span.parent_span_id)
    assert span.start_time_unix_nano <= span.end_time_unix_nano
    assert span.trace_id == call.trace_id
    return repr(
        (
            span.name,
            span.kind,
            span.trace_id.hex() if call.parent_span_id else "",
            span.parent_span_id.hex() if is_remote else bool(span.parent_span_id),
            span.trace_state,
            span.flags,
            list(attributes(span).items()),
            (span.status.code, span.status.message, span.HasField("status")),
            [(link.trace_id == call.trace_id, link.span_id == call.span_id, link.flags) for link in span.links],
            len(span.span_id),
            len(span.events),
        )
    )
