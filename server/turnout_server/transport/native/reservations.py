"""Room for messages that are larger than a stream's window.

A window bounds what a client may send unasked. A message that is longer needs more, up to the limit on messages; but
not on all of a connection's streams at once. Whoever comes too late waits, which costs the client nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable


class Reservations:
    """The room of one connection."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, size: int) -> None:
        """Begin with *size* bytes of room."""
        self._free = size
        self._waiting: dict[object, tuple[int, Callable[[int], None]]] = {}

    def ask(self, who: object, size: int, granted: Callable[[int], None]) -> None:
        """Reserve *size* bytes for *who*, now or when there is room; then *granted* is called with *size*."""
        self._waiting[who] = size, granted
        self._serve()

    def withdraw(self, who: object) -> None:
        """Forget what *who* asked for and did not get."""
        self._waiting.pop(who, None)

    def give_back(self, size: int) -> None:
        """Give back what was granted."""
        self._free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            who, (size, granted) = next(iter(self._waiting.items()))
            if size > self._free:
                return
            del self._waiting[who]
            self._free -= size
            granted(size)
