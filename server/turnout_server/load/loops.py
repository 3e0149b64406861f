"""When requests are sent: closed and open loops, as state machines. They are told the time, and never wait."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Protocol

from turnout_server.load.connection import Connection, Done
from turnout_server.load.tally import Tally

TICK_S = 0.001
"""How finely event loops can wait, in seconds."""
MAX_IN_FLIGHT = 10_000
"""Calls that an open loop has under way at most; more wait in the generator, which their latency includes."""


class Loop(Protocol):
    """Sends until it is stopped."""

    in_flight: int
    """Calls that have not ended."""

    def tick(self, now: float) -> float:
        """Send what is due at *now*, and return when to call next; infinity is never."""

    def stop(self, now: float) -> int:
        """Send nothing after *now*; return how many calls were due by then and could not be sent."""


class ClosedLoop:
    """So many callers, each of which sends its next request when its last is answered.

    Args:
        requests: sent in turn, over all callers.
        connections: callers take them in turn.
        concurrency: how many callers.
        tally: told of each answer.
        idle: called when the last call has ended after `stop`.
    """

    def __init__(
        self,
        requests: Sequence[bytes],
        connections: Sequence[Connection],
        concurrency: int,
        tally: Tally,
        idle: Callable[[], None],
    ) -> None:
        self._next: Iterator[bytes] = itertools.cycle(requests)
        self._connections = connections
        self._concurrency = concurrency
        self._record = tally.record
        self._idle = idle
        self._stopped = False
        self.in_flight = 0

    def tick(self, now: float) -> float:
        """Let every caller send its first request."""
        for number in range(self._concurrency):
            self._start_caller(self._connections[number % len(self._connections)])
        return math.inf

    def _start_caller(self, connection: Connection) -> None:
        # The path of every answer: names are looked up once.
        call, record, following = connection.call, self._record, self._next.__next__

        def done(code: str, payload: bytes | None, started: float, ended: float) -> None:
            record(code, payload, started, ended)
            if self._stopped:
                self.in_flight -= 1
                if not self.in_flight:
                    self._idle()
            else:
                call(following(), done)

        self.in_flight += 1
        call(following(), done)

    def stop(self, now: float) -> int:
        """Send nothing more; nothing was ever due."""
        self._stopped = True
        if not self.in_flight:
            self._idle()
        return 0


def evenly(start: float, rate: float) -> Iterator[float]:
    """Yield times at constant intervals, *rate* a second."""
    # Not the last one's plus an interval, whose rounding errors would add up.
    return (start + number / rate for number in itertools.count())


def at_random(start: float, rate: float, seed: int = 0) -> Iterator[float]:
    """Yield times at random, *rate* a second on average, as the requests of many independent callers come (Poisson)."""
    random = Random(seed)
    while True:
        start += random.expovariate(rate)
        yield start


class OpenLoop:
    """Sends when requests are due, whether or not earlier ones were answered.

    Event loops wait in steps of a millisecond. A request that is due within one leaves early rather than late, so that
    the generator's own coarseness is not taken for latency: that counts from when a request left, or was due if that
    was earlier.

    Args:
        requests: sent in turn.
        connections: requests take them in turn.
        due: when each is due, in ascending order and without end.
        tally: told of each answer.
        idle: called when the last call has ended after `stop`.
    """

    def __init__(
        self,
        requests: Sequence[bytes],
        connections: Sequence[Connection],
        due: Iterator[float],
        tally: Tally,
        idle: Callable[[], None],
    ) -> None:
        self._next: Iterator[bytes] = itertools.cycle(requests)
        self._connection: Iterator[Connection] = itertools.cycle(connections)
        self._times = due
        self._due = next(due)
        self._record = tally.record
        self._idle = idle
        self._stopped = False
        self.sent = 0
        self.in_flight = 0

    def tick(self, now: float) -> float:
        """Send what is due within `TICK_S`."""
        if self._stopped:
            return math.inf
        self._send(now + TICK_S)
        return max(now + TICK_S, self._due - TICK_S)

    def _send(self, until: float) -> None:
        while self.in_flight < MAX_IN_FLIGHT and self._due <= until:
            due, self._due = self._due, next(self._times)
            self.sent += 1
            self.in_flight += 1
            next(self._connection).call(next(self._next), self._done(due))

    def _done(self, due: float) -> Done:
        def done(code: str, payload: bytes | None, started: float, ended: float) -> None:
            self.in_flight -= 1
            self._record(code, payload, min(due, started), ended)
            if self._stopped and not self.in_flight:
                self._idle()

        return done

    def stop(self, now: float) -> int:
        """Send what was due by *now*, as far as there is room, and nothing more."""
        self._send(now)
        self._stopped = True
        if not self.in_flight:
            self._idle()
        unsent = 0
        while self._due <= now:
            unsent, self._due = unsent + 1, next(self._times)
        return unsent
