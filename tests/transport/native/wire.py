"""A peer and a client that is h2's, without a socket between them: bytes are handed over, and time stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.transport.native.fakes import Behaviour
from turnout_server.http2.server import Limits
from turnout_server.transport.native.deadlines import Deadlines
from turnout_server.transport.native.peer import Peer
from turnout_server.transport.native.service import Service

MAX_MESSAGE = 1_000_000
_PATIENCE_S = 30.0


def prefixed(message: bytes, flag: int = 0) -> bytes:
    """Return a message as it goes over the wire."""
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


def messages_in(body: bytes) -> list[bytes]:
    """Return the messages in the body of an answer."""
    found = []
    while body:
        assert body[0] == 0
        size = int.from_bytes(body[1:5], "big")
        assert len(body) >= 5 + size, "the body ends within a message"
        found.append(body[5 : 5 + size])
        body = body[5 + size :]
    return found


class Answer:
    """What came back on one stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.trailers: dict[str, str] = {}
        self.ended = False
        self.reset: int | None = None

    @property
    def messages(self) -> list[bytes]:
        return messages_in(self.body)

    @property
    def status(self) -> int | None:
        """The gRPC status; None while there is none."""
        text = self.trailers.get("grpc-status", self.headers.get("grpc-status"))
        return None if text is None else int(text)

    @property
    def message(self) -> str | None:
        return self.trailers.get("grpc-message", self.headers.get("grpc-message"))


class Wire:
    """A connection. Made within a running loop, whose tasks handlers run as."""

    def __init__(
        self,
        behaviour: Behaviour,
        limits: Limits = Limits(),  # noqa: B008 - it is immutable
        max_message: int = MAX_MESSAGE,
        window: int = 65_535,
        reads: bool = True,
    ) -> None:
        """Connect to *behaviour*.

        Args:
            behaviour: the methods.
            limits: what the client may make the server hold.
            max_message: bytes of the largest message.
            window: bytes of an answer that the client takes at first.
            reads: whether it takes more as it gets some.
        """
        self.now = 1_000.0
        loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(loop, lambda: self.now)
        self.service = Service(loop, behaviour.as_methods, self.deadlines, max_message, limits, lambda: self.now)
        self.peer = Peer(self.service)
        self._reads = reads
        self.answers: dict[int, Answer] = {}
        self.terminated: h2.events.ConnectionTerminated | None = None
        self._output = asyncio.Event()
        self.peer.on_output = self._output.set
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.client = h2.connection.H2Connection(config)
        initial = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window, h2.settings.SettingCodes.ENABLE_PUSH: 0}
        self.client.local_settings = h2.settings.Settings(client=True, initial_values=initial)
        self.client.initiate_connection()
        self.exchange()

    # ------------------------------------------------------------ what the client does

    def headers(self, path: str, fields: Iterable[tuple[str, str]] = (), **pseudo: Any) -> int:
        """Begin a call of `test.Fake/`*path*; return its stream."""
        stream: int = self.client.get_next_available_stream_id()
        self.answers[stream] = Answer()
        everything = [
            (":method", pseudo.get("method", "POST")),
            (":scheme", "http"),
            (":path", f"/test.Fake/{path}"),
            (":authority", "here"),
            ("content-type", pseudo.get("content_type", "application/grpc")),
            ("te", "trailers"),
            *fields,
        ]
        self.client.send_headers(stream, everything, end_stream=pseudo.get("end", False))
        return stream

    def send(self, stream: int, body: bytes, end: bool = False, piece: int = 16_384) -> None:
        """Send *body*, as far as the window goes; raise if it does not go that far."""
        for at in range(0, len(body), piece):
            last = end and at + piece >= len(body)
            self.client.send_data(stream, body[at : at + piece], end_stream=last)
        if end and not body:
            self.client.end_stream(stream)

    def call(self, path: str, message: bytes = b"", fields: Iterable[tuple[str, str]] = ()) -> Answer:
        """Make a whole call, and see how far it gets at once."""
        stream = self.headers(path, fields)
        self.send(stream, prefixed(message), end=True)
        self.exchange()
        return self.answers[stream]

    def room(self, stream: int) -> int:
        """How many bytes the client may send on *stream*."""
        room: int = self.client.local_flow_control_window(stream)
        return room

    def upload(self, stream: int, body: bytes, end: bool = True) -> None:
        """Send *body* as the windows allow it; raise if they stop doing so."""
        while body:
            room = min(self.room(stream), 16_384)
            assert room, "the windows are shut for good"
            self.client.send_data(stream, body[:room], end_stream=end and len(body) <= room)
            body = body[room:]
            self.exchange()

    # ------------------------------------------------------------ what goes over the wire

    def exchange(self) -> None:
        """Hand over bytes, both ways, until neither side has any."""
        more = True
        while more:
            data = self.client.data_to_send()
            more = self.push(data) if data else self.pull()

    def push(self, data: bytes) -> bool:
        """Let the server receive *data*, and the client what it has to say to that."""
        self.peer.corked = True
        behind = self.peer.receive(data)
        while behind:
            behind = self.peer.receive(b"")
        self.pull()
        return True

    def pull(self) -> bool:
        """Let the client receive what the server has to say; return whether that was anything."""
        out = b"".join(self.peer.take())
        self.peer.corked = False
        for event in self.client.receive_data(out) if out else ():
            self._heard(event)
        return bool(out)

    async def until(self, done: Callable[[], Any]) -> None:
        """Let the server go on until *done*, or until it has nothing more to say."""
        async with asyncio.timeout(_PATIENCE_S):
            self.exchange()
            while not done():
                await self._output.wait()
                self._output.clear()
                self.exchange()

    async def turns_until(self, done: Callable[[], Any]) -> None:
        """Let others have their turn until *done*; nothing goes over the wire."""
        async with asyncio.timeout(_PATIENCE_S):
            while not done():
                await asyncio.sleep(0)

    async def ended(self, stream: int) -> Answer:
        """Wait until *stream* has ended, and return what came back."""
        answer = self.answers[stream]
        await self.until(lambda: answer.ended or answer.reset is not None)
        return answer

    def _heard(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.terminated = event
        answer = self.answers.get(getattr(event, "stream_id", None) or 0)
        if answer is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = dict(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self._reads:
                self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code)
