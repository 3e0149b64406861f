"""Which calls may come in: a bound on those in progress, and a polite refusal while the server shuts down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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


class Gate:
    """Counts calls in and out. The event loop's thread only."""

    def __init__(self, limit: int, elsewhere: Callable[[], int] = int) -> None:
        """Open the gate.

        Args:
            limit: how many calls may be in progress at once.
            elsewhere: how many are that came in by another way.
        """
        self._limit = limit
        self._elsewhere = elsewhere
        self._inside = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.closing = asyncio.Event()
        """Set once the server shuts down."""
        self._when_closing: set[Callable[[], None]] = set()

    @property
    def inside(self) -> int:
        """How many calls are in progress."""
        return self._inside

    def enter(self) -> None:
        """Let a call in.

        Raises:
            ShuttingDownError: the server is going away.
            TooManyCallsError: there is no room.
        """
        if self.closing.is_set():
            raise ShuttingDownError
        if self._inside + self._elsewhere() >= self._limit:
            raise TooManyCallsError(self._limit)
        self._inside += 1
        self._idle.clear()

    def leave(self) -> None:
        """Let a call out."""
        self._inside -= 1
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
