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

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} calls are in progress already")

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

    def __init__(self, limit: int, everywhere: Counts | None = None) -> None:
        """Open the gate.

        Args:
            limit: how many calls may be in progress at once.
            everywhere: counts these calls and those that come in by other ways, up to the same limit; None where there
                is no other way.
        """
        self._limit = limit
        self._everywhere = everywhere
        self._inside = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.closing = asyncio.Event()
        """Set once the server shuts down."""
        self._when_closing: set[Callable[[], None]] = set()

    @property
    def inside(self) -> int:
        """How many calls that came in here are in progress."""
        return self._inside

    def enter(self) -> None:
        """Let a call in.

        Raises:
            ShuttingDownError: the server is going away.
            TooManyCallsError: there is no room.
        """
        if self.closing.is_set():
            raise ShuttingDownError
        everywhere = self._everywhere
        if self._inside >= self._limit if everywhere is None else not everywhere.enter():
            raise TooManyCallsError(self._limit)
        self._inside += 1
        self._idle.clear()

    def leave(self) -> None:
        """Let a call out."""
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
