"""One stream: what is left of its windows, who may still send, and what waits to be sent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from turnout_server.http2.codes import ErrorCode

if TYPE_CHECKING:
    from turnout_server.http2.connection import Connection


class Unsent:
    """What the peer's windows have no room for yet."""

    __slots__ = ("chunks", "size", "trailers")

    def __init__(self) -> None:
        self.chunks: deque[memoryview] = deque()
        self.size = 0
        """Bytes in `chunks`."""
        self.trailers: bytes | None = None
        """The header block that ends the stream after them; None when the end is not known yet."""


class Stream:
    """One stream. A subclass says what becomes of what arrives; its methods are called as things arrive."""

    __slots__ = ("connection", "id", "local_open", "receivable", "remote_open", "sendable", "unsent")

    def __init__(self, connection: Connection, stream_id: int) -> None:
        """Open a stream of *connection*."""
        self.connection = connection
        self.id = stream_id
        self.remote_open = True
        """Whether the peer may send more."""
        self.local_open = True
        """Whether we may send more."""
        self.receivable = connection.receive_window
        """Bytes of DATA that the peer may send now; `Connection.grant` adds to it."""
        self.sendable = connection.peer_window
        """Bytes of DATA that we may send now; negative when the peer has made its windows smaller."""
        self.unsent: Unsent | None = None

    def opened(self) -> None:
        """Hear that the stream is open, and what is sent on it will go out."""

    def data(self, chunk: bytes, ended: bool) -> None:
        """Take a piece of the body; with *ended* it was the last, and may be empty.

        Raises:
            StreamFailure: the stream is to be reset.
        """
        raise NotImplementedError

    def lost(self, code: ErrorCode) -> None:
        """Hear that nothing will arrive or can be sent any more, before either side was done."""
        raise NotImplementedError

    def drained(self) -> None:
        """Hear that everything that waited to be sent has been."""
