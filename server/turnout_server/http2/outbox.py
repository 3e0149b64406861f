"""What a connection sends: as much as the peer's windows allow now (RFC 9113, section 5.2), and the rest later."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from turnout_server.http2 import frames
from turnout_server.http2.codes import ConnectionFailure, ErrorCode, StreamFailure
from turnout_server.http2.stream import Stream, Unsent

ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

_MAX_FRAME_SIZE: Final = 2**24 - 1


def _nobody() -> None:
    """Nobody wants to know."""


class Outbox:
    """What is to be sent on a connection, and the windows and limits that the peer set."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        """The streams that are open: the peer may be done with them, but we are not."""
        self.peer_window = frames.DEFAULT_WINDOW
        """Bytes of DATA that the peer takes on a new stream."""
        self.frame_size = frames.DEFAULT_FRAME_SIZE
        """Bytes of payload that the peer takes in a frame."""
        self.sendable = frames.DEFAULT_WINDOW
        """Bytes of DATA that the peer takes on all streams together."""
        self.unsent = 0
        """Bytes that wait for the peer's windows."""
        self.corked = False
        """Whether somebody will come and `take` what is to be sent; else `on_output` is called when there is some."""
        self.on_output: Callable[[], None] = _nobody
        self._out: list[bytes | memoryview] = []
        self._waiting: OrderedDict[int, Stream] = OrderedDict()
        """Streams that only the connection's window keeps from sending, in turn."""

    def take(self) -> list[bytes | memoryview]:
        """Return what is to be sent now; it is the caller's."""
        out, self._out = self._out, []
        return out

    def _put(self, piece: bytes) -> None:
        self._out.append(piece)
        if not self.corked:
            self._announce()

    def _announce(self) -> None:
        self.corked = True
        self.on_output()

    # ------------------------------------------------------------ sending

    def send_headers(self, stream: Stream, block: bytes) -> None:
        """Send a header block that does not end *stream*."""
        self._put(frames.header_block(stream.id, block, False, self.frame_size))

    def send_data(self, stream: Stream, prefix: bytes, message: bytes) -> None:
        """Send *prefix* and *message* as DATA, as far as there is room; the rest follows when there is."""
        if stream.unsent is None:
            size = len(prefix) + len(message)
            if size <= stream.sendable and size <= self.sendable and size <= self.frame_size:
                stream.sendable -= size
                self.sendable -= size
                self._out.append(frames.HEADER.pack(size << 8, 0, stream.id) + prefix)
                self._put(message)
                return
            stream.unsent = Unsent()
        unsent = stream.unsent
        for piece in (prefix, message):
            if piece:
                unsent.chunks.append(memoryview(piece))
                unsent.size += len(piece)
                self.unsent += len(piece)
        self._push(stream)

    def send_trailers(self, stream: Stream, block: bytes) -> None:
        """Send a header block that ends *stream*, after what waits to be sent."""
        if stream.unsent is None:
            self._put(frames.header_block(stream.id, block, True, self.frame_size))
            self._end_local(stream)
        else:
            stream.unsent.trailers = block

    def _end_local(self, stream: Stream) -> None:
        """Our side of *stream* is done."""
        raise NotImplementedError

    # ------------------------------------------------------------ the peer's windows

    def _push(self, stream: Stream) -> None:
        """Send what there is room for of what waits."""
        unsent = stream.unsent
        assert unsent is not None
        while stream.sendable > 0 and self.sendable > 0 and unsent.chunks:
            self._send_piece(stream, unsent)
        self._wait_or_end(stream, unsent)

    def _wait_or_end(self, stream: Stream, unsent: Unsent) -> None:
        """Let *stream* wait for its turn, if that is all it waits for; or end what was to be sent."""
        if not unsent.chunks:
            self._all_sent(stream, unsent)
        elif stream.sendable > 0:
            self._waiting[stream.id] = stream

    def _send_piece(self, stream: Stream, unsent: Unsent) -> None:
        """Send one DATA frame, out of as many chunks as there is room for; there must be some."""
        room = min(stream.sendable, self.sendable, self.frame_size)
        pieces: list[memoryview] = []
        size = 0
        while unsent.chunks and size < room:
            chunk = unsent.chunks.popleft()
            if len(chunk) > room - size:
                unsent.chunks.appendleft(chunk[room - size :])
                chunk = chunk[: room - size]
            pieces.append(chunk)
            size += len(chunk)
        self._put(frames.HEADER.pack(size << 8, 0, stream.id))
        self._out.extend(pieces)
        stream.sendable -= size
        self.sendable -= size
        unsent.size -= size
        self.unsent -= size

    def _all_sent(self, stream: Stream, unsent: Unsent) -> None:
        self._waiting.pop(stream.id, None)
        stream.unsent = None
        if unsent.trailers is not None:
            self._put(frames.header_block(stream.id, unsent.trailers, True, self.frame_size))
            self._end_local(stream)
        stream.drained()

    def drop_unsent(self, stream: Stream) -> None:
        """Do not send what waits to be sent on *stream*."""
        self._waiting.pop(stream.id, None)
        if stream.unsent is not None:
            self.unsent -= stream.unsent.size
            stream.unsent = None

    def _widen(self, increment: int) -> None:
        """The peer takes more on all streams (section 6.9). Those that wait get one frame each, in turn."""
        if not increment:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        self.sendable += increment
        if self.sendable > frames.MAX_WINDOW:
            raise ConnectionFailure(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31-1")
        while self.sendable > 0 and self._waiting:
            _, stream = self._waiting.popitem(last=False)
            unsent = stream.unsent
            assert unsent is not None
            if stream.sendable > 0:  # it may have been taken back since (section 6.9.2)
                self._send_piece(stream, unsent)
            self._wait_or_end(stream, unsent)

    def _widen_stream(self, stream: Stream, increment: int) -> None:
        if not increment:
            raise StreamFailure(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        stream.sendable += increment
        if stream.sendable > frames.MAX_WINDOW:
            raise StreamFailure(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31-1")
        if stream.unsent is not None:
            self._push(stream)

    def _obey(self, settings: Iterable[tuple[int, int]]) -> None:
        """Obey the peer's settings (section 6.5.2), and say so; unknown ones are ignored.

        HEADER_TABLE_SIZE is one of those: what we send puts nothing into the peer's table. So are limits of streams
        and of fields, since we open none, and send few.
        """
        window = self.peer_window
        for setting, value in settings:
            if setting == INITIAL_WINDOW_SIZE:
                if value > frames.MAX_WINDOW:
                    raise ConnectionFailure(ErrorCode.FLOW_CONTROL_ERROR, "an initial window of more than 2^31-1")
                window = value
            elif setting == MAX_FRAME_SIZE:
                if not frames.DEFAULT_FRAME_SIZE <= value <= _MAX_FRAME_SIZE:
                    raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, f"frames of {value} bytes")
                self.frame_size = value
            elif setting == ENABLE_PUSH and value > 1:
                raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        # The peer may count by its new windows only when it hears this, so it comes before what makes use of them.
        self._put(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if window != self.peer_window:  # once, however often a frame says it: there may be many streams
            self._resize_windows(window)

    def _resize_windows(self, value: int) -> None:
        """Section 6.9.2: what changed, changes for the open streams too."""
        change, self.peer_window = value - self.peer_window, value
        for stream in list(self.streams.values()):
            stream.sendable += change
            if stream.sendable > frames.MAX_WINDOW:
                raise ConnectionFailure(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31-1")
            if change > 0 and stream.unsent is not None:
                self._push(stream)
