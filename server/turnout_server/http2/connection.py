"""One connection: frames in, calls on streams, frames out. The rules are those of RFC 9113; its sections are named.

Bytes go in at `receive` and come out at `take`. The frames are here; `server` adds the preface, and how streams are
opened. Nothing here waits, and nothing knows the time but from the clock that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from turnout_server.http2 import frames
from turnout_server.http2.budget import Budget
from turnout_server.http2.codes import ConnectionFailure, ErrorCode, StreamFailure
from turnout_server.http2.outbox import Outbox
from turnout_server.http2.stream import Stream

FRAME_SIZE: Final = frames.DEFAULT_FRAME_SIZE
"""Bytes of payload that a peer may put into a frame."""
FRAMES_A_TURN: Final = 16
"""Frames taken before it is asked whether others should have their turn."""
TURN_S: Final = 0.0005
"""How long one connection may keep the others waiting, in seconds: then they get their turn."""
_KINDS: Final = frames.CONTINUATION + 1
_BLOCK: Final = 64 * 1024
"""Bytes of a header block, compressed, over all its frames; of a longer one no more is kept."""
_CONTINUATIONS: Final = 64
"""Frames of a header block, after the first."""
_TOP_UP: Final = 2**30
"""The connection's window is filled up again when this is left. What a peer may make us hold is bounded stream by
stream: one window for all of them would let a stream that nobody reads stop the others."""
_IDLE_FRAMES_PER_S: Final = 200.0
_IDLE_FRAMES: Final = 10_000.0
"""Frames that bring nothing (PING, SETTINGS, empty DATA, PRIORITY, unknown ones) that a peer may send at once."""
_RESETS_PER_S: Final = 1_000.0
_RESETS: Final = 10_000.0
"""Streams that may end before their time at once by the peer's will or fault, beyond one for each that ended well."""
_REMEMBERED: Final = 2_000
"""Streams that we ended remembered at most: what was on its way to them is no fault of the peer's."""


class Connection(Outbox):
    """A connection whose peer opens the streams; a subclass says how."""

    def __init__(self, receive_window: int, clock: Callable[[], float]) -> None:
        """Begin a connection; nothing has been sent or received.

        Args:
            receive_window: bytes of DATA that may arrive on a stream before any is taken.
            clock: returns the time in seconds; it does not go back.
        """
        super().__init__()
        self.receive_window = receive_window
        self.last_id = 0
        """The highest stream that the peer opened."""
        self.closed = False
        """Whether the connection is over: what is left to be sent is to be sent, and then it ends."""
        self.failure: ConnectionFailure | None = None
        """Why it is over, when the peer broke a rule."""
        self.ready = False
        """Whether the peer's SETTINGS have come."""
        self._clock = clock
        self._buffer = b""
        self._at = 0
        self._receivable = frames.MAX_WINDOW
        self._idle_frames = Budget(_IDLE_FRAMES_PER_S, _IDLE_FRAMES)
        self._resets = Budget(_RESETS_PER_S, _RESETS)
        self._ended_by_us: dict[int, None] = {}
        self._last_named = frames.MAX_STREAM_ID
        self._block = bytearray()
        self._block_of = 0
        self._block_ends_stream = False
        self._continuations = 0
        self._on_frame: list[Callable[[int, int, bytes], None]] = [self._too_early] * _KINDS
        self._on_frame[frames.SETTINGS] = self._settings

    # ------------------------------------------------------------ bytes in

    def receive(self, data: bytes) -> bool:
        """Take what has arrived; return whether there is more to do, in another turn: then call it again, with b"".

        Never raises for what a peer sends: a broken rule puts a GOAWAY into what is to be sent, and sets `closed`.
        """
        if self.closed:
            return False
        if data:
            self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
            self._at = 0
        try:
            return self._frames()
        except ConnectionFailure as failure:
            self.fail(failure)
            return False

    def _frames(self) -> bool:
        ends = self._clock() + TURN_S
        while self._some_frames():
            if self._clock() >= ends:
                return True
        return False

    def _some_frames(self) -> bool:
        """Take some frames; return whether there may be more."""
        buffer, at = self._buffer, self._at
        size = len(buffer)
        unpack, handlers = frames.HEADER.unpack_from, self._on_frame
        for _ in range(FRAMES_A_TURN):
            body = at + frames.HEADER_SIZE
            if body > size:
                break
            length_and_kind, flags, stream_id = unpack(buffer, at)
            length, kind = length_and_kind >> 8, length_and_kind & 0xFF
            if length > FRAME_SIZE:
                raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = body + length
            if end > size:
                break
            # What handles a frame may raise, or end this connection: it is always past that frame.
            self._at = at = end
            payload = buffer[body:end]
            stream_id &= frames.MAX_STREAM_ID
            if self._block_of and (kind != frames.CONTINUATION or stream_id != self._block_of):
                raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "a frame within a header block")
            try:
                if kind < _KINDS:
                    handlers[kind](flags, stream_id, payload)
                else:
                    self._unknown()
            except StreamFailure as failure:
                self.reset(stream_id, failure.code)
                self._count_reset()
            if self.closed:
                return False
        else:
            return True
        if at == size:
            self._buffer, self._at = b"", 0
        return False

    def _unknown(self) -> None:
        """Section 5.5: frames of unknown kinds are ignored."""
        if not self.ready:
            self._too_early(0, 0, b"")
        self._idle_frame()

    # ------------------------------------------------------------ DATA (section 6.1)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        length = len(payload)
        self._receivable -= length
        if self._receivable < _TOP_UP:
            self._put(frames.window_update(0, frames.MAX_WINDOW - self._receivable))
            self._receivable = frames.MAX_WINDOW
        stream = self.streams.get(stream_id)
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        if stream is None:
            self._late(stream_id, "DATA")
            if not payload:
                self._idle_frame()
            return
        if not stream.remote_open:
            raise StreamFailure(ErrorCode.STREAM_CLOSED, "DATA after the end")
        stream.receivable -= length
        if stream.receivable < 0:
            raise StreamFailure(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than there was room for")
        ended = bool(flags & frames.END_STREAM)
        if ended:
            stream.remote_open = False
        elif not payload:
            self._idle_frame()
        if length != len(payload):
            self.grant(stream, length - len(payload))  # padding is gone at once
        stream.data(payload, ended)

    def _late(self, stream_id: int, what: str) -> None:
        """Something arrived on a stream that is not open."""
        if stream_id in self._ended_by_us:
            return  # it was sent before the peer heard of the end
        if not stream_id or not self._was_opened(stream_id):
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, f"{what} on a stream that was never opened")
        raise ConnectionFailure(ErrorCode.STREAM_CLOSED, f"{what} on a stream that has ended")

    def _was_opened(self, stream_id: int) -> bool:
        raise NotImplementedError

    def grant(self, stream: Stream, size: int) -> None:
        """Let the peer send *size* more bytes of DATA on *stream*, unless it has ended."""
        if stream.remote_open and size > 0:
            stream.receivable += size
            self._put(frames.window_update(stream.id, size))

    # ------------------------------------------------------------ header blocks (sections 6.2 and 6.10)

    def _headers_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & (frames.PADDED | frames.WITH_PRIORITY):
            if flags & frames.PADDED:
                payload = frames.unpadded(payload)
            if flags & frames.WITH_PRIORITY:
                payload = frames.without_priority(payload)
        if not stream_id:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & frames.END_HEADERS:
            self._headers(stream_id, payload, bool(flags & frames.END_STREAM))
            return
        self._block_of = stream_id
        self._block[:] = payload
        self._block_ends_stream = bool(flags & frames.END_STREAM)
        self._continuations = 0

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._block_of:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._continuations += 1
        if self._continuations > _CONTINUATIONS:  # CVE-2024-27316
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        if len(self._block) <= _BLOCK:
            self._block += payload
        if flags & frames.END_HEADERS:
            self._block_of, block = 0, bytes(self._block)
            self._block.clear()
            if len(block) > _BLOCK:
                self._long_headers(stream_id, self._block_ends_stream)
            else:
                self._headers(stream_id, block, self._block_ends_stream)

    def _long_headers(self, stream_id: int, ended: bool) -> None:
        """Take a header block that is too long to be decoded: from now on, none can be."""
        raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "a header block that is too long")

    def _headers(self, stream_id: int, block: bytes, ended: bool) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------ the other frames

    def _priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.3: checked, and otherwise ignored, as section 5.3.2 allows."""
        if not stream_id:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            # Of one stream only; but that may not be open, and there is no RST_STREAM for those (section 6.4).
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
        self._idle_frame()

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        code = frames.word(payload, "RST_STREAM")
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            if not stream_id or not self._was_opened(stream_id):
                raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on a stream that was never opened")
        else:
            self._lose(stream, _code(code))
        self._count_reset()

    def _count_reset(self) -> None:
        """Count a stream that the peer reset (CVE-2023-44487), or made us reset (CVE-2025-8671)."""
        if not self._resets.spend(self._clock()):
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "too many streams were reset")

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS that acknowledge, and say something")
            if not self.ready:
                raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._idle_frame()
            return
        if self.ready:
            self._idle_frame()
        else:
            self._begin_in_earnest()
        self._obey(frames.settings_in(payload))

    def _begin_in_earnest(self) -> None:
        """The peer's first SETTINGS have come: from now on it may send anything (section 3.4)."""
        self.ready = True
        self._on_frame[:] = (
            self._data,
            self._headers_frame,
            self._priority,
            self._rst_stream,
            self._settings,
            self._push_promise,
            self._ping,
            self._goaway,
            self._window_update,
            self._continuation,
        )

    def _too_early(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")

    def _push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 8.4: a client never sends it."""
        raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE")

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong size")
        self._idle_frame()
        if not flags & frames.ACK:
            self._put(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong size")
        self._idle_frame()  # the peer's streams go on, and there are none of ours

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        increment = frames.word(payload, "WINDOW_UPDATE") & frames.MAX_WINDOW
        if not stream_id:
            self._widen(increment)
            return
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._widen_stream(stream, increment)
        elif not self._was_opened(stream_id):
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that was never opened")

    def _idle_frame(self) -> None:
        """Count a frame that brings nothing."""
        if not self._idle_frames.spend(self._clock()):
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "a flood of frames that bring nothing")

    # ------------------------------------------------------------ ends

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream before its time (section 5.4.2), if the connection is not over anyway."""
        if self.closed:
            return
        self._put(frames.rst_stream(stream_id, code))
        self._remember(stream_id)
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._lose(stream, code)

    def _remember(self, stream_id: int) -> None:
        if len(self._ended_by_us) >= _REMEMBERED:
            del self._ended_by_us[next(iter(self._ended_by_us))]
        self._ended_by_us[stream_id] = None

    def _lose(self, stream: Stream, code: ErrorCode) -> None:
        stream.remote_open = stream.local_open = False
        self.drop_unsent(stream)
        stream.lost(code)

    def fail(self, failure: ConnectionFailure) -> None:
        """End the connection because the peer broke a rule (section 5.4.1)."""
        self.failure = failure
        self.end(failure.code, failure.text)

    def end(self, code: ErrorCode = ErrorCode.NO_ERROR, text: str = "") -> None:
        """Say goodbye, and end the connection with everything that is still open."""
        if not self.closed:
            self._say_goodbye(self.last_id, code, text)
            self.lose_everything()

    def _say_goodbye(self, last_id: int, code: ErrorCode, text: str = "") -> None:
        """Tell the peer that no stream after *last_id* is taken, or an earlier one if that was said before."""
        self._last_named = min(self._last_named, last_id)
        self._put(frames.goaway(self._last_named, code, text))

    def lose_everything(self) -> None:
        """Hear that the peer has gone, or is left alone."""
        self.closed = True
        self._buffer, self._at = b"", 0
        self._on_frame.clear()  # it refers back to this connection
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            self._lose(stream, ErrorCode.CANCEL)


def _code(number: int) -> ErrorCode:
    try:
        return ErrorCode(number)
    except ValueError:
        return ErrorCode.INTERNAL_ERROR  # section 7 says so
