"""Which calls the native data plane traces, and how many spans may wait there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Take = Callable[[bool], tuple[int, bytes] | None]
"""Returns the oldest spans and how many they are, as fields of OTLP's `ScopeSpans`, or None where too few wait for a
batch; with True also fewer than that."""


class Sampling(NamedTuple):
    """What a sampler says, as bounds: the greatest lower half of a trace id that is sampled, None where none is."""

    root: int | None
    """The bound where a call has no parent."""
    sampled: int | None
    """The bound where it has one that is sampled."""
    unsampled: int | None
    """The bound where it has one that is not."""
    most_spans: int
    """How many spans may wait."""
    batch_spans: int
    """How many make a batch."""
