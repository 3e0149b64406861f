"""How copies' answers differ from those that callers got, counted from the records of the copies.

A copy's record does not say how long the original took, so there is no histogram of the difference. Durations of copies
stand here and those of requests in `turnout.request.duration`; a report can pair the two by `copy_of`.

`read` belongs to the event loop's thread; `families` may be called on any.
"""

from __future__ import annotations

import json

from turnout_server.instruments.families import (
    MODEL,
    OUTCOME,
    ROUTE,
    VERSION,
    Family,
    Histogram,
    Point,
    counter,
    histogram,
)
from turnout_server.instruments.instruments import NS_PER_S, REQUEST_BOUNDS_NS
from turnout_server.vocabulary.record import OK, Comparison, Record

COMPARED = "compared"
"""The outcome of a pair that was compared, without a word to be said of it."""
UNCOMPARED = "uncompared"
"""The outcome of a copy that nobody was asked to compare."""
MAX_SERIES = 200
"""Series of route, model and version that are kept; of more, the one that was silent for longest is forgotten."""

_NANO = 1_000_000_000
"""Histograms hold whole numbers, so figures are counted in thousand millionths."""
_MOST = 10**9
"""What an infinite difference counts as in a sum."""
_SHARES = tuple(
    round(share * _NANO) for share in (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
)
_RELATIVE = tuple(
    round(share * _NANO)
    for share in (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0)
)
_ABSOLUTE = (0, *(10**power for power in range(2, 16)))
"""1e-7 to 1e6."""


class _Series:
    """The copies that one version got of one route's requests."""

    __slots__ = (
        "absolute",
        "agree",
        "delta",
        "disagree",
        "discordance",
        "duration",
        "last_ns",
        "nans",
        "outcomes",
        "overlap",
        "relative",
    )

    def __init__(self) -> None:
        self.last_ns = 0
        self.outcomes: dict[str, int] = {}
        self.agree = 0
        self.disagree = 0
        self.nans = 0
        self.overlap = Histogram(_SHARES)
        self.discordance = Histogram(_SHARES)
        self.delta = Histogram(_RELATIVE)
        self.absolute = Histogram(_ABSOLUTE)
        self.relative = Histogram(_RELATIVE)
        self.duration = Histogram(REQUEST_BOUNDS_NS)

    def add(self, found: Comparison) -> None:
        """Count what was measured."""
        if found.overlap is not None:
            self.overlap.add(_whole(found.overlap))
        if found.tau is not None:
            self.discordance.add(_whole((1.0 - found.tau) / 2.0))
        if found.delta is not None:
            self.delta.add(_whole(abs(found.delta)))
        if found.absolute is not None:
            self.absolute.add(_whole(found.absolute))
        if found.relative is not None:
            self.relative.add(_whole(found.relative))
        if found.top1 is not None:
            self.agree += found.top1
            self.disagree += not found.top1
        self.nans += found.nans or 0


class ShadowInstruments:
    """The comparisons of one process; a reader of records."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], _Series] = {}

    def read(self, record: Record) -> None:
        """Count *record* if it is a copy's."""
        if record.copy_of < 0 or record.decision is None:
            return
        series = self._series_of((record.route, record.decision.model, record.decision.version))
        series.last_ns = record.arrived_ns
        outcome = outcome_of(record)
        series.outcomes[outcome] = series.outcomes.get(outcome, 0) + 1
        if record.code == OK:
            series.duration.add(record.took_ns)
        if record.comparison is not None:
            series.add(record.comparison)

    def families(self) -> tuple[Family, ...]:
        """Return every metric as it is now."""
        series = list(self._series.items())
        labels = ROUTE, MODEL, VERSION
        outcomes: list[Point] = [
            ((*key, outcome), count) for key, each in series for outcome, count in list(each.outcomes.items())
        ]
        begins: list[Point] = [
            ((*key, outcome), count)
            for key, each in series
            for outcome, count in (("agree", each.agree), ("disagree", each.disagree))
            if each.agree or each.disagree
        ]
        nans: list[Point] = [(key, each.nans) for key, each in series]
        durations: list[Point] = [(key, each.duration.read(NS_PER_S)) for key, each in series]
        overlap: list[Point] = [(key, each.overlap.read(_NANO)) for key, each in series]
        discordance: list[Point] = [(key, each.discordance.read(_NANO)) for key, each in series]
        delta: list[Point] = [(key, each.delta.read(_NANO)) for key, each in series]
        absolute: list[Point] = [(key, each.absolute.read(_NANO)) for key, each in series]
        relative: list[Point] = [(key, each.relative.read(_NANO)) for key, each in series]
        return (
            counter("turnout.shadow.pairs", "{pair}", _PAIRS, (*labels, OUTCOME), outcomes),
            counter("turnout.shadow.top1", "{pair}", _TOP1, (*labels, OUTCOME), begins),
            counter("turnout.shadow.nans", "{number}", _NANS, labels, nans),
            histogram("turnout.shadow.overlap", "1", _OVERLAP, labels, overlap),
            histogram("turnout.shadow.discordance", "1", _DISCORDANCE, labels, discordance),
            histogram("turnout.shadow.delta", "1", _DELTA, labels, delta),
            histogram("turnout.shadow.absolute", "1", _ABSOLUTELY, labels, absolute),
            histogram("turnout.shadow.relative", "1", _RELATIVELY, labels, relative),
            histogram("turnout.shadow.duration", "s", _DURATION, labels, durations),
        )

    def _series_of(self, key: tuple[str, str, int]) -> _Series:
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                del self._series[min(self._series, key=lambda each: self._series[each].last_ns)]
            series = self._series[key] = _Series()
        return series


def outcome_of(record: Record) -> str:
    """Return how a copy's *record* ended for comparison: `COMPARED`, an error's code, or the note's word.

    A note that shows both answers is JSON, and has the word, if there is one, in that.
    """
    if record.code != OK:
        return record.code
    if record.comparison is None:
        return UNCOMPARED
    note = record.comparison.note
    if note.startswith("{"):
        note = json.loads(note).get("note", "")
    return note or COMPARED


def _whole(figure: float) -> int:
    return round(min(figure, _MOST) * _NANO)


_PAIRS = "Copies that ended: compared, an error's code, or why their answers could not be compared."
_TOP1 = "Compared pairs of lists, by whether both begin with the same item."
_NANS = "Numbers that are NaN in one answer of a pair only."
_OVERLAP = "The share of the first items that both lists of a pair have."
_DISCORDANCE = "The share of pairs of items that both lists have and in the other order: (1 - Kendall's tau) / 2."
_DELTA = "The relative difference of a pair's prices, the mean over its rows, without its sign."
_ABSOLUTELY = "The greatest absolute difference of any number in a pair."
_RELATIVELY = "The greatest relative difference of any number in a pair."
_DURATION = "How long copies took that were answered."
