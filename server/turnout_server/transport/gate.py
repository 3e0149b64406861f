"""Which calls may come in: a bound on those in progress, and a polite refusal while the server shuts down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from turnout_server.vocabulary.errors import Kind, ShuttingDownError, TurnoutError


class TooManyCallsError(TurnoutError):
    """More calls are in progress than this server takes."""

    reason = "TOO_MANY_CALLS"
    kind = Kind.OVERLOADED

    def __init__(self, limit: int, whose: str = "") -> None:
        super().__init__(f"{limit} {whose}calls are in progress already")

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which a retry makes sense."""
        return 0.5


class Counts(Protocol):
    """Counts calls in progress that come in by several ways, up to a limit of all."""

    def enter(self) -> bool:
        """Count a call in; return False where there is no room for it."""

    def leave(self) -> None:
        """Count it out."""


class Gate:
    """Counts calls in and out. The event loop's thread only."""

    def __init__(self, limit: int, everywhere: Counts | None = None, of_one: int | None = None) -> None:
        """Open the gate.

        Args:
            limit: how many calls may be in progress at once.
            everywhere: counts these calls and those that come in by other ways, up to the same limit; None where there
                is no other way.
            of_one: how many of them one connection may have; None where somebody else sees to that.
        """
        self._limit = limit
        self._everywhere = everywhere
        self._of_one = of_one
        self._connections: dict[str, int] = {}
        self._inside = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.closing = asyncio.Event()
        """Set once the server shuts down."""
        self._when_closing: set[Callable[[], None]] = set()

    @property
    def looks_at_addresses(self) -> bool:
        """Whether it matters to `enter` where a call comes from."""
        return self._of_one is not None

    @property
    def inside(self) -> int:
        """How many calls that came in here are in progress."""
        return self._inside

    def enter(self, address: str = "") -> None:
        """Let a call of the connection from *address* in.

        Raises:
            ShuttingDownError: the server is going away.
            TooManyCallsError: there is no room.
        """
        if self.closing.is_set():
            raise ShuttingDownError
        of_one = 0 if self._of_one is None else self._connections.get(address, 0) + 1
        if self._of_one is not None and of_one > self._of_one:
            raise TooManyCallsError(self._of_one, "of this connection's ")
        everywhere = self._everywhere
        if self._inside >= self._limit if everywhere is None else not everywhere.enter():
            raise TooManyCallsError(self._limit)
        if of_one:
            self._connections[address] = of_one
        self._inside += 1
        self._idle.clear()

    def leave(self, address: str = "") -> None:
        """Let a call out that was let in with the same *address*."""
        if self._of_one is not None:
            self._connections[address] -= 1
            if not self._connections[address]:
                del self._connections[address]
        self._inside -= 1
        if self._everywhere is not None:
            self._everywhere.leave()
        if not self._inside:
            self._idle.set()

    def close(self) -> None:
        """Let nobody in any more."""
        self.closing.set()
        for told in list(self._when_closing):
            told()

    def when_closing(self, told: Callable[[], None]) -> None:
        """Call *told* when the gate closes, unless `forget` comes first."""
        self._when_closing.add(told)

    def forget(self, told: Callable[[], None]) -> None:
        """Undo `when_closing`."""
        self._when_closing.discard(told)

    async def empty(self, timeout_s: float) -> bool:
        """Wait until no call is in progress; return False if *timeout_s* passed first."""
        if not self._inside:
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
