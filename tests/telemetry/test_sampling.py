"""Bounds say of every trace what the sampler says."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from turnout_server.engine.tracing import Sampling
from turnout_server.telemetry.sampling import BATCH_SPANS, MOST_SPANS, sampling_of

RATIO = TraceIdRatioBased(0.3)


def sampling(sampler: Sampler | None = None, **settings: Any) -> Sampling | None:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False, **settings)
    processor = SpanProcessor()
    provider.add_span_processor(processor)
    return sampling_of(provider, processor)


@pytest.mark.parametrize(
    "sampler",
    [
        ALWAYS_ON,
        ALWAYS_OFF,
        TraceIdRatioBased(0.0),
        TraceIdRatioBased(1.0),
        RATIO,
        ParentBasedTraceIdRatio(0.01),
        ParentBased(ALWAYS_OFF),
        ParentBased(RATIO, remote_parent_sampled=TraceIdRatioBased(0.5)),
    ],
    ids=lambda sampler: sampler.get_description()[:40],
)
def test_what_a_sampler_says_of_a_trace_its_bounds_say_too(sampler: Sampler) -> None:
    found = sampling(sampler)
    assert found is not None
    random = Random(1)
    edges = [0, 1, found.root or 0, (found.root or 0) + 1, 2**64 - 1]
    for low in (*edges, *(random.getrandbits(64) for _ in range(300))):
        trace_id = random.getrandbits(63) + 1 << 64 | low & 2**64 - 1
        for flags, bound in ((None, found.root), (1, found.sampled), (0, found.unsampled)):
            context = Context()
            if flags is not None:
                parent = SpanContext(trace_id, 1, is_remote=True, trace_flags=TraceFlags(flags))
                context = trace.set_span_in_context(NonRecordingSpan(parent), context)
            expected = sampler.should_sample(context, trace_id, "x").decision.is_sampled()
            assert (bound is not None and trace_id & 2**64 - 1 <= bound) == expected


class Custom(RandomIdGenerator):
    """Ids of somebody's own."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: sampling(StaticSampler(ALWAYS_ON._decision)),
        lambda: sampling(ParentBased(ParentBased(ALWAYS_ON))),
        lambda: sampling(type("Mine", (ParentBased,), {})(ALWAYS_ON)),
        lambda: sampling(ALWAYS_ON, id_generator=Custom()),
        lambda: sampling(ALWAYS_ON, span_limits=SpanLimits(max_span_attributes=12)),
        lambda: sampling(ALWAYS_ON, span_limits=SpanLimits(max_attribute_length=10)),
    ],
    ids=["static", "nested", "subclass", "ids", "few", "short"],
)
def test_what_bounds_cannot_say_is_left_to_python(make: Callable[[], Sampling | None]) -> None:
    assert make() is None


def test_whoever_else_wants_to_see_spans_gets_them_from_python() -> None:
    provider, ours = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False), SpanProcessor()
    provider.add_span_processor(ours)
    provider.add_span_processor(SpanProcessor())
    assert sampling_of(provider, ours) is None


def test_the_standards_variables_say_how_many_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sampling()
    assert found is not None
    assert (found.most_spans, found.batch_spans) == (MOST_SPANS, BATCH_SPANS)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many")
    found = sampling()
    assert found is not None
    assert (found.most_spans, found.batch_spans) == (100, BATCH_SPANS)
