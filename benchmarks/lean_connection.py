"""A connection that costs little: HTTP/2 and gRPC as far as unary calls with small messages need them.

By grpc.aio a call takes the generator longer than it takes the server, which then cannot be overloaded from the same
machine. Here the request's header block is made once, what is sent within one turn of the event loop is one write, and
an answer is not looked at beyond its status.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterable
from time import perf_counter
from typing import NamedTuple, cast

import grpc
from hpack import Decoder, Encoder

from benchmarks import frames
from turnout_server.load import CallError, Plan
from turnout_server.load.connection import Done
from turnout_server.load.grpc_connection import CONNECT_S

_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_RENEWED = 1 << 24
"""Bytes of DATA after which the peer may send as many more."""
_REFUSED_STREAM = 7
_MOST_STATUSES = 64
_PREFIX = struct.Struct(">BL")


class _Status(NamedTuple):
    code: str
    """Empty in the headers that come before an answer."""
    message: bytes


class _Call(NamedTuple):
    body: bytes
    done: Done
    started: float
    answer: bytearray


class LeanConnection(asyncio.Protocol):
    """One connection, with as many calls at once as the server allows; more wait here."""

    def __init__(self, plan: Plan) -> None:
        """Make it, to be opened. The plan's timeout is sent to the server, and kept by nobody else."""
        self._host, _, self._port = plan.target.rpartition(":")
        self._block = _request_block(plan)
        self._decoder = Decoder()
        self._statuses: dict[bytes, _Status] = {}
        self._transport: asyncio.WriteTransport | None = None
        self._ready: asyncio.Future[None] | None = None
        self.under_way: list[float] = []
        """Seconds from when each call that was answered with OK was sent: without what it waited here for room."""
        self._calls: dict[int, tuple[_Call, float]] = {}
        self._waiting: deque[_Call] = deque()
        self._out: list[bytes] = []
        self._rest = b""
        self._next_stream = 1
        self._sendable = frames.DEFAULT_WINDOW
        self._stream_window = frames.DEFAULT_WINDOW
        self._most_calls = 100
        self._received = 0

    async def open(self) -> None:
        """Connect, and wait for the server's settings.

        Raises:
            CallError: it cannot be reached.
        """
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(lambda: self, self._host, int(self._port))
                await self._ready
        except OSError as error:  # TimeoutError is one
            raise CallError("UNAVAILABLE", f"cannot reach {self._host}:{self._port}: {error}") from None

    def call(self, body: bytes, done: Done) -> None:
        """Send one request; see `Connection.call`.

        Raises:
            ValueError: the message is longer than one frame can be.
        """
        if len(body) + 5 > frames.DEFAULT_FRAME_SIZE:
            raise ValueError(f"a message of {len(body)} bytes does not fit one frame")
        self._waiting.append(_Call(body, done, perf_counter(), bytearray()))
        self._send_waiting()

    async def close(self) -> None:
        """Hang up; nobody hears of calls under way."""
        self._calls.clear()
        self._waiting.clear()
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------ sending

    def _send_waiting(self) -> None:
        while self._waiting and len(self._calls) < self._most_calls:
            call = self._waiting[0]
            size = len(call.body) + 5
            if size > self._sendable or size > self._stream_window:
                return
            self._waiting.popleft()
            self._sendable -= size
            stream, self._next_stream = self._next_stream, self._next_stream + 2
            self._calls[stream] = call, perf_counter()
            self._write(
                frames.frame(frames.HEADERS, frames.END_HEADERS, stream, self._block)
                + frames.frame(frames.DATA, frames.END_STREAM, stream, _PREFIX.pack(0, size - 5) + call.body)
            )

    def _write(self, piece: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(piece)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(b"".join(out))

    # ------------------------------------------------------------ receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.WriteTransport, transport)
        # With no table to refer to, an equal block means the same whenever it comes, and is decoded once.
        wide = frames.settings(
            [
                (frames.HEADER_TABLE_SIZE, 0),
                (frames.ENABLE_PUSH, 0),
                (frames.INITIAL_WINDOW_SIZE, frames.MAX_WINDOW),
            ]
        )
        room = frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
        self._transport.write(frames.PREFACE + wide + room)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        now = perf_counter()
        buffer, at = self._rest + data, 0
        for frame, end in frames.whole(buffer):
            self._frame(frame, now)
            at = end
        self._rest = buffer[at:]
        self._send_waiting()

    def _frame(self, frame: frames.Frame, now: float) -> None:
        kind, flags, stream, payload = frame
        if kind == frames.DATA:
            self._answer(stream, payload)
        elif kind == frames.HEADERS:
            status = self._statuses.get(payload) or self._decoded(payload)
            if flags & frames.END_STREAM:
                self._end(stream, status, now)
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            self._obey(payload)
        elif kind == frames.WINDOW_UPDATE and stream == 0:
            self._sendable += frame.number
        elif kind == frames.RST_STREAM:
            self._reset(stream, frame.number, now)
        elif kind == frames.PING and not flags & frames.ACK:
            self._write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _decoded(self, block: bytes) -> _Status:
        status = _status_of(self._decoder.decode(block))
        if not self._decoder.header_table.dynamic_entries and len(self._statuses) < _MOST_STATUSES:
            self._statuses[block] = status
        else:  # a server that refers to what it sent before, whatever we said
            self._statuses.clear()
        return status

    def _answer(self, stream: int, payload: bytes) -> None:
        if stream in self._calls:
            self._calls[stream][0].answer.extend(payload)
        self._received += len(payload)
        if self._received >= _RENEWED:
            self._write(frames.window_update(0, self._received))
            self._received = 0

    def _reset(self, stream: int, code: int, now: float) -> None:
        if code == _REFUSED_STREAM and stream in self._calls:
            # Nothing has been done for it (RFC 9113, section 8.7): servers may count a stream as open that is over.
            self._waiting.appendleft(self._calls.pop(stream)[0])
        else:
            self._end(stream, _Status("UNAVAILABLE", b"the server reset the stream"), now)

    def _end(self, stream: int, status: _Status, now: float) -> None:
        if stream not in self._calls:
            return
        call, sent = self._calls.pop(stream)
        if status.code == "OK":
            self.under_way.append(now - sent)
            call.done(status.code, bytes(call.answer[5:]), call.started, now)
        else:
            call.done(status.code, status.message, call.started, now)

    def _obey(self, payload: bytes) -> None:
        for setting, value in frames.settings_in(payload):
            if setting == frames.MAX_CONCURRENT_STREAMS:
                self._most_calls = value
            elif setting == frames.INITIAL_WINDOW_SIZE:
                self._stream_window = value
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`. Calls under way have failed."""
        now, lost = perf_counter(), [*(call for call, _ in self._calls.values()), *self._waiting]
        self._calls.clear()
        self._waiting.clear()
        for call in lost:
            call.done("UNAVAILABLE", b"the connection is lost", call.started, now)
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(ConnectionResetError("the server hung up"))


def _request_block(plan: Plan) -> bytes:
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", plan.method),
        (":authority", plan.target),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *plan.metadata,
    ]
    if plan.timeout_s is not None:
        fields.append(("grpc-timeout", f"{round(plan.timeout_s * 1e3)}m"))
    # Nothing goes into the server's table, so that the block means the same whenever it is sent.
    return bytes(Encoder().encode([(name, value, True) for name, value in fields]))


def _status_of(fields: Iterable[tuple[str, str]]) -> _Status:
    values = dict(fields)
    number = values.get("grpc-status")
    return _Status(_CODES[int(number)] if number else "", values.get("grpc-message", "").encode())
