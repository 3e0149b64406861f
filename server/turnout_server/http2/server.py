"""The server's side of a connection: who may open streams, and how many (RFC 9113, section 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from turnout_server.http2 import frames, outbox
from turnout_server.http2.codes import ConnectionFailure, ErrorCode, StreamFailure
from turnout_server.http2.connection import Connection
from turnout_server.http2.fields import Field, FieldDecoder
from turnout_server.http2.requests import check_trailers
from turnout_server.http2.stream import Stream

Head = TypeVar("Head")

_HTTP1: Final = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC")
_TEXT: Final = b"This port speaks gRPC, over HTTP/2 without TLS.\n"
_PLAIN_ANSWER: Final = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(_TEXT), _TEXT)
)


class Limits(NamedTuple):
    """What one client may make us hold."""

    streams: int = 256
    """Streams open at once, and calls that still run though theirs was reset."""
    window: int = 256 * 1024
    """Bytes on a stream before any was taken. A client that has not heard of it yet goes by 65,535."""
    fields: int = 16 * 1024
    """Bytes of header fields of a request, decoded."""
    unsent: int = 128 * 1024 * 1024
    """Bytes of answers that the client has no window for; with more, new calls are refused."""


class ServerConnection(Connection, Generic[Head]):
    """A connection from a client."""

    def __init__(
        self,
        build: Callable[[list[Field]], Head],
        accept: Callable[[ServerConnection[Head], int, Head | None], Stream],
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        """Begin a connection; our SETTINGS are what `take` returns first.

        Args:
            build: makes a request's head out of its fields; see `FieldDecoder`.
            accept: opens a stream for a head; with None, the request had more fields than allowed.
            limits: what the client may make us hold.
            clock: see `Connection`.
        """
        super().__init__(limits.window, clock)
        self.lingering = 0
        """Calls that still run though their stream is gone; whoever runs them counts (CVE-2023-44487)."""
        self._deaf = False
        """Whether header blocks are past decoding: one was too long to be taken, and all after it build on it."""
        self._limits = limits
        self._accept = accept
        self._decoder = FieldDecoder(build, limits.fields)
        self._preface = frames.PREFACE
        self._put(
            frames.settings(
                (
                    (outbox.MAX_CONCURRENT_STREAMS, limits.streams),
                    (outbox.INITIAL_WINDOW_SIZE, limits.window),
                    (outbox.MAX_HEADER_LIST_SIZE, limits.fields),
                )
            )
            + frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
        )

    def receive(self, data: bytes) -> bool:
        """See `Connection.receive`."""
        if self._preface and not self.closed:
            return self._begin(self._buffer + data)
        return super().receive(data)

    def _begin(self, data: bytes) -> bool:
        """Look for the preface (section 3.4)."""
        if data.startswith(self._preface):
            self._buffer, rest, self._preface = b"", data[len(self._preface) :], b""
            return super().receive(rest)
        if data.startswith(_HTTP1):
            self._out[:] = [_PLAIN_ANSWER]
            self.lose_everything()
        elif any(beginning.startswith(data) for beginning in (self._preface, *_HTTP1)):
            self._buffer = data
        else:
            self.fail(ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2"))
        return False

    def _headers(self, stream_id: int, block: bytes, ended: bool) -> None:
        if stream_id <= self.last_id or not stream_id & 1:
            self._more_headers(stream_id, block, ended)
            return
        self.last_id = stream_id
        if self._deaf:
            self.reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        head = self._decoder.decode(block)
        if len(self.streams) + self.lingering >= self._limits.streams:
            self.reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        self._open(stream_id, head, ended)

    def _long_headers(self, stream_id: int, ended: bool) -> None:
        """Answer the request all the same, and take no more of them here; those in progress may end."""
        if self._deaf or stream_id <= self.last_id or not stream_id & 1:
            super()._long_headers(stream_id, ended)
        self.last_id = stream_id
        self._deaf = True
        self._open(stream_id, None, ended)
        self._say_goodbye(stream_id, ErrorCode.NO_ERROR, "a header block that is too long")

    def _open(self, stream_id: int, head: Head | None, ended: bool) -> None:
        stream = self._accept(self, stream_id, head)
        if stream.local_open:
            self.streams[stream_id] = stream
            stream.remote_open = not ended
            stream.opened()
            if ended and stream.local_open:
                stream.data(b"", True)
        elif not ended:
            self._no_more(stream_id)

    def _more_headers(self, stream_id: int, block: bytes, ended: bool) -> None:
        """Take trailers, or find fault with them."""
        if not stream_id & 1:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "a client opens odd streams")
        fields = [] if self._deaf else self._decoder.fields(block)
        stream = self.streams.get(stream_id)
        if stream is None:
            self._late(stream_id, "HEADERS")
            self._idle_frame()
            return
        if not stream.remote_open:
            raise StreamFailure(ErrorCode.STREAM_CLOSED, "HEADERS after the end")
        if not ended:
            raise StreamFailure(ErrorCode.PROTOCOL_ERROR, "trailers that don't end their stream")  # section 8.1
        check_trailers(fields)
        stream.remote_open = False
        stream.data(b"", True)

    def _was_opened(self, stream_id: int) -> bool:
        return bool(stream_id & 1) and stream_id <= self.last_id

    def _end_local(self, stream: Stream) -> None:
        stream.local_open = False
        if self.streams.pop(stream.id, None) is not None and stream.remote_open:
            # Section 8.1: the answer is complete; what the client still sends would be for nothing.
            stream.remote_open = False
            self._no_more(stream.id)
        self._resets.earn()

    def _no_more(self, stream_id: int) -> None:
        self._put(frames.rst_stream(stream_id, ErrorCode.NO_ERROR))
        self._remember(stream_id)

    @property
    def crowded(self) -> bool:
        """Whether so much waits for this client's windows that it should not ask for more."""
        return self.unsent > self._limits.unsent

    def announce_end(self) -> None:
        """Tell the client to open no more streams, and go on taking those that are on their way (section 6.8)."""
        if not self.closed:
            self._say_goodbye(frames.MAX_STREAM_ID, ErrorCode.NO_ERROR)
