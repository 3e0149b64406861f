"""A client that is h2's on a real socket, for what no client of gRPC's does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

_PATIENCE_S = 60.0


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


class SocketWire:
    """A connection; `connect` makes one."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int, reads: bool, **config: Any
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._reads = reads
        self._holds = False
        self.answers: dict[int, Answer] = {}
        self.terminated: h2.events.ConnectionTerminated | None = None
        self.closed = False
        self.client = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8", **config)
        )
        initial = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window, h2.settings.SettingCodes.ENABLE_PUSH: 0}
        self.client.local_settings = h2.settings.Settings(client=True, initial_values=initial)
        self.client.initiate_connection()
        self.flush()

    @classmethod
    async def connect(cls, port: int, window: int = 65_535, reads: bool = True, **config: Any) -> SocketWire:
        """Connect, and wait until the server has said what it takes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        wire = cls(reader, writer, window, reads, **config)
        await wire.until(lambda: wire.client.remote_settings.initial_window_size > 65_535)
        await wire.until(lambda: wire.client.outbound_flow_control_window > 65_535)
        return wire

    # ------------------------------------------------------------ what the client does

    def headers(self, path: str, fields: Iterable[tuple[str, str]] = (), **pseudo: Any) -> int:
        """Begin a call of `test.Fake/`*path*, or of another *service*'s; return its stream."""
        stream: int = self.client.get_next_available_stream_id()
        self.answers[stream] = Answer()
        everything = [
            (":method", pseudo.get("method", "POST")),
            (":scheme", "http"),
            (":path", f"/{pseudo.get('service', 'test.Fake')}/{path}"),
            (":authority", "here"),
            ("content-type", pseudo.get("content_type", "application/grpc")),
            ("te", "trailers"),
            *fields,
        ]
        self.client.send_headers(stream, everything, end_stream=pseudo.get("end", False))
        self.flush()
        return stream

    def send(self, stream: int, body: bytes, end: bool = False, piece: int = 16_384) -> None:
        """Send *body*, as far as the window goes; raise if it does not go that far."""
        for at in range(0, len(body), piece):
            last = end and at + piece >= len(body)
            self.client.send_data(stream, body[at : at + piece], end_stream=last)
        if end and not body:
            self.client.end_stream(stream)
        self.flush()

    def ask(self, path: str, message: bytes = b"", fields: Iterable[tuple[str, str]] = ()) -> int:
        """Send a whole request; return its stream."""
        stream = self.headers(path, fields)
        self.send(stream, prefixed(message), end=True)
        return stream

    async def call(self, path: str, message: bytes = b"", fields: Iterable[tuple[str, str]] = ()) -> Answer:
        """Make a whole call."""
        return await self.ended(self.ask(path, message, fields))

    def room(self, stream: int) -> int:
        """How many bytes the client may send on *stream*."""
        room: int = self.client.local_flow_control_window(stream)
        return room

    async def upload(self, stream: int, body: bytes, end: bool = True) -> None:
        """Send *body* as the windows allow it."""
        while body:
            await self.until(lambda: self.room(stream))
            size = min(self.room(stream), 16_384)
            self.client.send_data(stream, body[:size], end_stream=end and len(body) <= size)
            body = body[size:]
            self.flush()

    # ------------------------------------------------------------ what goes over the wire

    def flush(self) -> None:
        """Send what the client has to say."""
        if not self._holds:
            self.writer.write(self.client.data_to_send())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Send nothing inside, and all of it at the end, at once."""
        self._holds = True
        yield
        self._holds = False
        self.flush()

    def raw(self, data: bytes) -> None:
        """Send what no library would, after what the client has to say."""
        self.flush()
        self.writer.write(data)

    async def until(self, done: Callable[[], Any]) -> None:
        """Read until *done*, or the server has closed the connection."""
        async with asyncio.timeout(_PATIENCE_S):
            while not done() and not self.closed:
                data = await self.reader.read(65_536)
                self.closed = not data
                for event in self.client.receive_data(data) if data else ():
                    self._heard(event)
                self.flush()

    async def ended(self, stream: int) -> Answer:
        """Wait until *stream* has ended, and return what came back."""
        answer = self.answers[stream]
        await self.until(lambda: answer.ended or answer.reset is not None)
        return answer

    async def close(self) -> None:
        """Go."""
        self.writer.close()
        await self.writer.wait_closed()

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
