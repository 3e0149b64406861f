"""What the configured sampler says of a call, as the native data plane has to know it beforehand."""

from __future__ import annotations

import os

from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)

from turnout_server.engine.tracing import Sampling

MOST_SPANS = 32_768
"""How many spans may wait in the engine, where nobody says otherwise: a second of 10,000 calls."""
BATCH_SPANS = 512
"""How many leave at once, likewise; the SDK's own number."""
_MOST_ATTRIBUTES = 13
"""So many has the span of a call at most."""
_ALL = 1 << 64


def sampling_of(provider: TracerProvider, processor: SpanProcessor) -> Sampling | None:
    """Return what the native data plane has to know to make the spans that *provider* would; None if only that can.

    It can where the sampler is one of the standard's, ids are random, nothing is cut, and nobody but *processor* is
    told of spans.
    """
    limits = provider._span_limits
    most = limits.max_span_attributes
    if (
        type(provider.id_generator) is not RandomIdGenerator
        or provider._active_span_processor._span_processors != (processor,)
        or limits.max_span_attribute_length is not None
        or (most is not None and most < _MOST_ATTRIBUTES)
    ):
        return None
    sampler = provider.sampler
    try:
        if isinstance(sampler, ParentBased) and type(sampler) in (ParentBased, ParentBasedTraceIdRatio):
            # `Spans.start` takes the word of a caller that does not sample, whatever else is configured.
            root, sampled, unsampled = _bound(sampler._root), _bound(sampler._remote_parent_sampled), None
        else:
            root = sampled = unsampled = _bound(sampler)
    except LookupError:
        return None
    most_spans = number_of(OTEL_BSP_MAX_QUEUE_SIZE, MOST_SPANS)
    batch_spans = number_of(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, BATCH_SPANS)
    return Sampling(root, sampled, unsampled, most_spans, batch_spans)


def _bound(sampler: Sampler) -> int | None:
    """Return the bound of a sampler that does not look at parents.

    Raises:
        LookupError: it is none of the standard's.
    """
    if sampler is ALWAYS_ON:
        bound = _ALL
    elif sampler is ALWAYS_OFF:
        bound = 0
    elif type(sampler) is TraceIdRatioBased:
        bound = sampler.bound
    else:
        raise LookupError(sampler.get_description())
    return bound - 1 if bound else None


def number_of(variable: str, otherwise: int) -> int:
    """Return a number from the environment; what is none counts as unset, as in the SDK."""
    try:
        return max(1, int(os.environ[variable]))
    except (KeyError, ValueError):
        return otherwise
