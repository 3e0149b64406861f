"""Metrics as numbers: what the instruments hand over, and what exporters turn into their own forms."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from turnout_server.vocabulary import attributes


class Kind(Enum):
    """What may be done with a family's numbers."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Label(NamedTuple):
    """A dimension of a metric."""

    name: str
    """In Prometheus."""
    attribute: str
    """In OpenTelemetry."""


ROUTE = Label("route", attributes.ROUTE)
TARGET = Label("target", attributes.TARGET)
EXPERIMENT = Label("experiment", attributes.EXPERIMENT)
ARM = Label("arm", attributes.ASSIGNED)
MODEL = Label("model", attributes.MODEL)
VERSION = Label("version", attributes.VERSION)
REASON = Label("reason", attributes.REASON)
CODE = Label("code", attributes.CODE)
OUTCOME = Label("outcome", attributes.OUTCOME)
CAUSE = Label("cause", attributes.CAUSE)
FATE = Label("fate", attributes.FATE)
DIGEST = Label("digest", attributes.DIGEST)
REVISION = Label("revision", attributes.REVISION)
EPOCH = Label("epoch", attributes.EPOCH)
TASK = Label("task", attributes.TASK)
STATE = Label("state", attributes.STATE)
FEATURE = Label("feature", attributes.FEATURE)
METHOD = Label("method", attributes.RPC_METHOD)
STATUS = Label("code", attributes.RPC_STATUS)


class Buckets(NamedTuple):
    """A histogram at one moment."""

    bounds: tuple[float, ...]
    """Upper bounds, inclusive, ascending, in the family's unit."""
    counts: tuple[int, ...]
    """How many fell into each bucket, not cumulated; one more than there are bounds."""
    sum: float
    """Of all observations, in the family's unit."""


Labels = tuple[str | int, ...]
Point = tuple[Labels, int | Buckets]


class Family(NamedTuple):
    """One metric with all its series."""

    name: str
    """In OpenTelemetry, dotted."""
    prometheus: str
    """In Prometheus, without a counter's `_total`."""
    kind: Kind
    unit: str
    """In UCUM: `s`, `{request}`."""
    help: str
    labels: tuple[Label, ...]
    points: tuple[Point, ...]
    common: tuple[tuple[str, str], ...] = ()
    """Attributes that every series has in OpenTelemetry, and that Prometheus does without."""


class Counted(NamedTuple):
    """Observations that somebody else has counted into the same buckets."""

    counts: Sequence[int]
    total: int
    """The sum of the observations."""

    @property
    def observations(self) -> int:
        """How many there were."""
        return sum(self.counts)


class Histogram:
    """Integers counted into buckets with fixed, inclusive upper bounds."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0

    def add(self, value: int, count: int = 1) -> None:
        """Count one observation, or *count* equal ones."""
        self._counts[bisect_left(self._bounds, value)] += count
        self._sum += value * count

    def include(self, counted: Counted) -> None:
        """Count what was counted elsewhere."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, counted.counts, strict=True)]
        self._sum += counted.total

    def read(self, scale: int = 1) -> Buckets:
        """Return the state now, every value divided by *scale*."""
        counts = tuple(self._counts)
        return Buckets(tuple(bound / scale for bound in self._bounds), counts, self._sum / scale)


class Readable(Protocol):
    """What exporters read."""

    def families(self) -> Iterable[Family]:
        """Return every metric as it is now, on any thread."""


def counter(name: str, unit: str, text: str, labels: tuple[Label, ...], points: Iterable[Point]) -> Family:
    """Make a family of numbers that only grow."""
    return Family(name, _underscored(name), Kind.COUNTER, unit, text, labels, tuple(points))


def gauge(name: str, unit: str, text: str, labels: tuple[Label, ...], points: Iterable[Point]) -> Family:
    """Make a family of numbers that come and go."""
    return Family(name, _underscored(name), Kind.GAUGE, unit, text, labels, tuple(points))


def histogram(name: str, unit: str, text: str, labels: tuple[Label, ...], points: Iterable[Point]) -> Family:
    """Make a family of histograms."""
    suffix = "_seconds" if unit == "s" else ""
    return Family(name, _underscored(name) + suffix, Kind.HISTOGRAM, unit, text, labels, tuple(points))


def _underscored(name: str) -> str:
    return name.replace(".", "_")
