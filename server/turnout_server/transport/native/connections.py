"""The connections that are open: so many at most, and who goes when one more comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Connection(Protocol):
    """What can be asked of one."""

    @property
    def begun(self) -> bool:
        """Whether the client has said that it speaks HTTP/2."""

    @property
    def idle(self) -> bool:
        """Whether the client has no call in progress."""

    def end(self) -> None:
        """Say goodbye, and end the connection."""


C = TypeVar("C", bound=Connection)


class Connections(Generic[C]):
    """The connections that are open, the oldest first.

    Each costs a file descriptor, and a server without any can do nothing at all. So when there are as many as may be,
    one that brings nothing makes room: one that never began, or else one without calls, whose client only has to
    connect again. A client that opens connections in vain thereby ends its own.
    """

    def __init__(self, most: int) -> None:
        """Begin with none, for *most* at once."""
        self._most = most
        self._open: dict[C, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[C]:
        return iter(list(self._open))

    def add(self, connection: C) -> bool:
        """Take one more; return False where all others have calls in progress."""
        if len(self._open) >= self._most:
            last = self._dispensable()
            if last is None:
                return False
            self.discard(last)
            last.end()
        self._open[connection] = None
        return True

    def discard(self, connection: C) -> None:
        """Forget one, if it is known."""
        self._open.pop(connection, None)

    def _dispensable(self) -> C | None:
        for connection in self._open:
            if not connection.begun:
                return connection
        for connection in self._open:
            if connection.idle:
                return connection
        return None
