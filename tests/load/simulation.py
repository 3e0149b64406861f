"""A network whose time is a number."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import NamedTuple

from turnout_server.load.connection import Done


class Sent(NamedTuple):
    """One call that was made."""

    at: float
    body: bytes
    connection: int


class Network:
    """Answers each call after as long as *takes* says; None is never.

    Args:
        takes: given the call's number, from 0, and its body.
        code: given the same, how it ends.
    """

    def __init__(
        self, takes: Callable[[int, bytes], float | None], code: Callable[[int, bytes], str] = lambda number, body: "OK"
    ) -> None:
        self.now = 0.0
        self.sent: list[Sent] = []
        self._takes = takes
        self._code = code
        self._under_way: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def connection(self, number: int = 0) -> Connection:
        return Connection(self, number)

    def call(self, connection: int, body: bytes, done: Done) -> None:
        number, started = len(self.sent), self.now
        self.sent.append(Sent(self.now, body, connection))
        takes = self._takes(number, body)
        if takes is not None:
            code = self._code(number, body)
            self.at(self.now + takes, lambda: done(code, b"answer", started, self.now))

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._under_way, (when, next(self._order), what))

    def run_until(self, end: float) -> None:
        """Let time pass, until nothing happens before *end*."""
        while self._under_way and self._under_way[0][0] <= end:
            self.now, _, what = heapq.heappop(self._under_way)
            what()
        self.now = end


class Connection:
    """One connection of a network."""

    def __init__(self, network: Network, number: int) -> None:
        self._network = network
        self._number = number

    async def open(self) -> None:
        pass

    def call(self, body: bytes, done: Done) -> None:
        self._network.call(self._number, body, done)

    async def close(self) -> None:
        pass
