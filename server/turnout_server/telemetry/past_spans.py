"""Spans that were over before anybody made them: the queue and the run of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext


class PastSpans:
    """Hands finished spans straight to a processor.

    A tracer makes a span that can still change: it asks the sampler, takes locks, copies attributes. None of that is
    needed for a child whose parent is recorded and whose attributes are ours. Measured, this takes a tenth of the time.
    """

    __slots__ = ("_new_id", "_processor", "_resource", "_scope")

    def __init__(self, processor: SpanProcessor, provider: TracerProvider, version: str) -> None:
        self._processor = processor
        self._new_id = provider.id_generator.generate_span_id
        self._resource = provider.resource
        self._scope = InstrumentationScope("turnout", version)

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
        span_id = self._new_id()
        context = SpanContext(parent.trace_id, span_id, False, parent.trace_flags, parent.trace_state)
        span = ReadableSpan(
            name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            links=links,
            start_time=start_ns,
            end_time=end_ns,
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)
