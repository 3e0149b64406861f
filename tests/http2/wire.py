"""A server's connection that notes what happens on its streams, and two clients: frames made by hand, and `h2`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import h2.config
import h2.connection
import h2.events
from hpack import Encoder

from turnout_server.http2 import frames
from turnout_server.http2.codes import ErrorCode, StreamFailure
from turnout_server.http2.requests import Request, request_of
from turnout_server.http2.server import Limits, ServerConnection
from turnout_server.http2.stream import Stream

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "here"), ("te", "trailers")]
BLOCK = b"\x83\x86\x44\x06/a.B/C"
"""A request's header block that puts nothing into the table: POST, http, and a path."""
ANSWER = b"\x88"
"""`:status: 200`."""
TRAILERS = b"\x00\x0bgrpc-status\x010"
SETTINGS = frames.settings(())
HELLO = frames.PREFACE + SETTINGS
LIMITS = Limits()


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Call(Stream):
    """A stream that notes what happens to it."""

    __slots__ = ("body", "drains", "ended", "lost_to", "request", "server")

    def __init__(self, server: Server, stream_id: int, request: Request | None) -> None:
        super().__init__(server.connection, stream_id)
        self.server = server
        self.request = request
        self.body = b""
        self.ended = False
        self.lost_to: ErrorCode | None = None
        self.drains = 0

    def opened(self) -> None:
        self.server.happened.append(("opened", self.id, self.request))
        self.server.on_open(self)

    def data(self, chunk: bytes, ended: bool) -> None:
        assert not self.ended
        assert self.lost_to is None
        self.body += chunk
        self.ended = ended
        self.server.happened.append(("data", self.id, chunk, ended))
        self.server.on_data(self)
        if chunk == b"bad":
            raise StreamFailure(ErrorCode.CANCEL, "as the test wishes")

    def lost(self, code: ErrorCode) -> None:
        assert self.lost_to is None
        self.lost_to = code
        self.server.happened.append(("lost", self.id, code))

    def drained(self) -> None:
        self.drains += 1
        self.server.on_drained(self)

    def answer(self, message: bytes, prefix: bytes = b"") -> None:
        self.connection.send_headers(self, ANSWER)
        self.connection.send_data(self, prefix, message)
        self.connection.send_trailers(self, TRAILERS)


class Server:
    """A server's connection. Bytes go in at `receive`, which returns what is sent then."""

    def __init__(self, limits: Limits = LIMITS, hello: bool = True) -> None:
        self.clock = Clock()
        self.calls: dict[int, Call] = {}
        self.happened: list[tuple[object, ...]] = []
        self.turned_away = False
        """Whether calls are answered at once, with trailers alone."""
        self.on_open: Callable[[Call], None] = lambda call: None
        self.on_data: Callable[[Call], None] = lambda call: None
        self.on_drained: Callable[[Call], None] = lambda call: None
        self.connection: ServerConnection[Request] = ServerConnection(request_of, self._accept, limits, self.clock)
        if hello:
            self.receive(HELLO)

    def _accept(self, connection: ServerConnection[Request], stream_id: int, request: Request | None) -> Stream:
        if self.turned_away:
            stream = Stream(connection, stream_id)
            connection.send_trailers(stream, ANSWER)
            return stream
        call = self.calls[stream_id] = Call(self, stream_id, request)
        return call

    def take(self) -> bytes:
        return b"".join(self.connection.take())

    def receive(self, data: bytes) -> bytes:
        while self.connection.receive(data):
            data = b""
        return self.take()

    def sent(self, data: bytes = b"") -> list[Frame]:
        """Receive *data*, if any; return the frames that are sent."""
        return frames_in(self.receive(data) if data else self.take())

    def goodbye(self) -> tuple[int, ErrorCode]:
        """Return the last stream and the code of the GOAWAY that ended the connection; it must be the last word."""
        assert self.connection.closed
        last = self.sent()[-1]
        assert last.kind == frames.GOAWAY
        return int.from_bytes(last.payload[:4], "big"), ErrorCode(int.from_bytes(last.payload[4:8], "big"))

    def end_of(self, data: bytes) -> ErrorCode:
        """Receive *data*, which must end the connection; return why."""
        while self.connection.receive(data):
            data = b""
        return self.goodbye()[1]


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """What a RST_STREAM or a WINDOW_UPDATE says."""
        assert self.kind in (frames.RST_STREAM, frames.WINDOW_UPDATE)
        return int.from_bytes(self.payload, "big")


def frames_in(data: bytes) -> list[Frame]:
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        payload = data[9 : 9 + length]
        assert len(payload) == length
        found.append(Frame(data[3], data[4], int.from_bytes(data[5:9], "big"), payload))
        data = data[9 + length :]
    return found


def resets_in(found: list[Frame]) -> dict[int, ErrorCode]:
    return {one.stream: ErrorCode(one.number) for one in found if one.kind == frames.RST_STREAM}


def headers(stream: int, block: bytes = BLOCK, end: bool = False) -> bytes:
    return frames.header_block(stream, block, end, frames.DEFAULT_FRAME_SIZE)


def data(stream: int, payload: bytes, end: bool = False) -> bytes:
    return frames.frame(frames.DATA, frames.END_STREAM if end else 0, stream, payload)


def padded(kind: int, flags: int, stream: int, payload: bytes, padding: int) -> bytes:
    return frames.frame(kind, flags | frames.PADDED, stream, bytes((padding,)) + payload + bytes(padding))


def block_of(fields: list[tuple[str, str]]) -> bytes:
    """Return a block of literals."""
    return Encoder().encode([(name, value, True) for name, value in fields])


class Client:
    """The client of `h2`, which checks what the server does."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.server = Server(limits, hello=False)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.events: list[h2.events.Event] = []
        self.h2.initiate_connection()
        self.talk()

    def talk(self) -> None:
        """Carry bytes to and fro until there are no more."""
        while True:
            asked = self.h2.data_to_send()
            answered = self.server.receive(asked) if asked else self.server.take()
            if not asked and not answered:
                return
            self.events += self.h2.receive_data(answered)

    def of(self, kind: type[h2.events.Event], stream: int | None = None) -> list[h2.events.Event]:
        """Return the events of one kind so far, on one stream if it is named."""
        return [
            event
            for event in self.events
            if isinstance(event, kind) and (stream is None or event.stream_id == stream)  # type: ignore[attr-defined]
        ]

    def begin(self, end: bool = False) -> int:
        """Send a request's head; return its stream."""
        stream: int = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, REQUEST, end_stream=end)
        return stream

    def body(self, stream: int) -> bytes:
        """Return what came of an answer."""
        return b"".join(event.data for event in self.of(h2.events.DataReceived, stream))  # type: ignore[attr-defined]
