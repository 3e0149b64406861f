"""The end of one request, as one immutable value. Whoever counts, stores or compares requests reads these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, Self

from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.errors import TurnoutError

OK = "OK"
"""The code of a request that was answered."""
CANCELLED = "CANCELLED"
"""The code of a request whose caller went before it was answered."""


def code_of(error: BaseException) -> str:
    """Return the code of a request that ended with *error*: what nobody foresaw has no reason of its own."""
    return error.reason if isinstance(error, TurnoutError) else TurnoutError.reason


class Timing(NamedTuple):
    """Where one request's time went, in nanoseconds on the clock of `time.monotonic_ns`."""

    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    rows: int
    """Rows in the batch that the request ran in; 0 when it did not run."""
    started_ns: int
    """When the run began; 0 when it did not."""


class Comparison(NamedTuple):
    """How a mirror's answer differs from the one that the caller got; None where a measure does not apply."""

    overlap: float | None = None
    """The share of the top k items that both have, 0 to 1."""
    tau: float | None = None
    """Kendall's tau over the items that both have, -1 to 1."""
    top1: bool | None = None
    """Whether both put the same item first."""
    delta: float | None = None
    """(copy - original) / |original| of the prices, the mean over the rows."""
    delta_most: float | None = None
    """The greatest |copy - original| / |original| of any row."""
    absolute: float | None = None
    """The greatest absolute difference of any number in any output."""
    relative: float | None = None
    """The greatest difference of any number, relative to the original."""
    nans: int | None = None
    """Numbers that are NaN in one answer only."""
    note: str = ""
    """Why there was nothing to compare; or, of the worst pairs, both answers in short, as JSON."""


class Record(NamedTuple):
    """One request's end."""

    seq: int
    """Which decision of this boot it is, counted from 0; -1 for a request that ended before there was one."""
    arrived_ns: int
    """When the request came, in nanoseconds since the epoch."""
    took_ns: int
    """From then to its end."""
    code: str
    """`OK`, `CANCELLED`, or an error's stable reason."""
    decision: Decision | None
    route: str
    """The route that was asked; empty unless the route table has it."""
    unit: str = ""
    """As the caller sent it. It never reaches disk, logs or metrics."""
    request_id: str = ""
    """The caller's, else ours."""
    rows: int = 0
    """Rows that the request brought; 0 where that was never known."""
    timing: Timing | None = None
    """None for a request that did not get as far as a queue."""
    traceparent: str = ""
    """As the caller sent it, cut off where it is longer than any that makes sense."""
    principal: str = ""
    """Who called, as authenticated."""
    copy_of: int = -1
    """Of a mirror's copy: the `seq` of the request that was copied; else -1."""
    comparison: Comparison | None = None
    """Of a mirror's copy: how its answer differs."""


class Page(Protocol):
    """Records that the native data plane has made, in columns, in the order of their numbers. Never empty.

    One thread at a time.
    """

    def __len__(self) -> int:
        """Return how many there are."""

    @property
    def lost(self) -> int:
        """How many more there were no room for: they came after those that are here."""

    def exposures(self) -> Mapping[tuple[str, str, str], int]:
        """Return how many of them are exposures, by `vocabulary.exposure.Arm`."""

    def lost_exposures(self) -> Mapping[tuple[str, str, str], int]:
        """Return how many of those are that there were no room for, likewise."""

    def keep(self, count: int) -> None:
        """Lose all but the first *count*."""

    def join(self, later: Self) -> None:
        """Take what another page has, whose numbers are higher."""

    def encode(self, key: bytes, key_id: str) -> tuple[object, object]:
        """Return the journal's columns, with units hashed by *key*: Arrow's schema and array, as its capsules.

        Raises:
            ValueError: there are more texts than columns can hold.
        """
