"""The metrics of what carries calls: connections, and what ends before a handler hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from turnout_server.instruments.families import (
    CAUSE,
    OUTCOME,
    Counted,
    Family,
    Histogram,
    Label,
    counter,
    gauge,
    histogram,
)

OPEN: Final = "connections"
_OPEN = "Connections that are open."
MEMORY: Final = (
    ("memory.taken", "turnout.transport.memory.taken", "Memory that callers make the process hold, as estimated."),
    ("memory.limit", "turnout.transport.memory.limit", "What that may come to: limits.memory_bytes."),
)
_CONNECTIONS = "Connections that were taken, refused, or closed to make room for others."
_RESETS = "Calls that were reset, by whom."
_GOAWAYS = "Connections that were told to end, by why."
_REFUSALS = "Calls that the transport refused, by why."
_COUNTERS: tuple[tuple[str, str, str, Label, tuple[str, ...]], ...] = (
    ("turnout.transport.connections", "{connection}", _CONNECTIONS, OUTCOME, ("accepted", "refused", "evicted")),
    ("turnout.transport.resets", "{call}", _RESETS, CAUSE, ("reset.client", "reset.server")),
    ("turnout.transport.goaways", "{connection}", _GOAWAYS, CAUSE, ("goaway.calm", "goaway.fault", "goaway.going")),
    (
        "turnout.transport.refusals",
        "{call}",
        _REFUSALS,
        CAUSE,
        tuple(
            f"refusal.{cause}"
            for cause in ("metadata", "size", "ratio", "values", "unread", "unheard", "unfinished", "silent", "memory")
        ),
    ),
)
LAG_BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""The twin is in `engine/src/net/lag.rs`."""
LAG: Final = tuple(f"lag.{bucket}" for bucket in range(len(LAG_BOUNDS_MS) + 1))
LAG_SUM: Final = "lag.sum"
"""In nanoseconds."""
_LAG = "How late reactors did what was asked of them."


class TransportMetrics:
    """A transport's numbers as metrics. What it doesn't know is left out."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Read them by *counts*, on any thread: by `connections`, and the names above."""
        self._counts = counts

    def families(self) -> tuple[Family, ...]:
        """Return them as they are now."""
        counts = self._counts()
        families = []
        if OPEN in counts:
            families.append(
                gauge("turnout.transport.connections.open", "{connection}", _OPEN, (), [((), counts[OPEN])])
            )
        families += [gauge(name, "By", text, (), [((), counts[key])]) for key, name, text in MEMORY if key in counts]
        if LAG_SUM in counts:
            lag = Histogram(tuple(bound * 1_000_000 for bound in LAG_BOUNDS_MS))
            lag.include(Counted([counts[bucket] for bucket in LAG], counts[LAG_SUM]))
            families.append(histogram("turnout.transport.lag", "s", _LAG, (), [((), lag.read(1_000_000_000))]))
        for name, unit, text, label, keys in _COUNTERS:
            points = [((key.rpartition(".")[2],), counts[key]) for key in keys if key in counts]
            if points:
                families.append(counter(name, unit, text, (label,), points))
        return tuple(families)
