"""One client's connection: HTTP/2's rules, with gRPC's calls on its streams."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Final

from turnout_server.http2 import frames
from turnout_server.http2.server import ServerConnection
from turnout_server.http2.stream import Stream
from turnout_server.transport.native import answers
from turnout_server.transport.native.call import NativeCall
from turnout_server.transport.native.head import Head, head_of
from turnout_server.transport.native.reservations import Reservations
from turnout_server.transport.native.streaming import StreamingCall
from turnout_server.transport.native.unary import UnaryCall

if TYPE_CHECKING:
    from turnout_server.transport.native.service import Service

_BLOCK_KIND: Final = frames.HEADERS
# An answer is three frames: HEADERS, DATA, HEADERS. All of the first, and what stands before the message in the second:
_BEFORE: Final = struct.Struct(f">5sL{len(answers.HEADERS)}sLBLBL")
_AFTER: Final = struct.Struct(f">5sL{len(answers.TRAILERS)}s")
_HEADERS_BEGIN: Final = frames.HEADER.pack(len(answers.HEADERS) << 8 | _BLOCK_KIND, frames.END_HEADERS, 0)[:5]
_TRAILERS_BEGIN: Final = frames.HEADER.pack(
    len(answers.TRAILERS) << 8 | _BLOCK_KIND, frames.END_HEADERS | frames.END_STREAM, 0
)[:5]
_PREFIX: Final = struct.Struct(">BL")


class Peer(ServerConnection[Head]):
    """One client's connection."""

    def __init__(self, service: Service) -> None:
        """Begin a connection of *service*'s."""
        methods = service.methods
        super().__init__(partial(head_of, methods=methods), _accept, service.limits, service.clock)
        self.service = service
        self.address = ""
        """HOST:PORT of the client."""
        self.reservations = Reservations(service.room)
        self.paused = False
        """Whether the client does not take what it is sent as fast as it comes."""
        self.waiting: set[StreamingCall] = set()
        """The calls that wait until they may send more."""

    def send_answer(self, call: NativeCall, message: bytes) -> None:
        """Answer a unary call."""
        size = len(message) + 5
        if size > self.sendable or size > call.sendable or size > self.frame_size:
            self.send_headers(call, answers.HEADERS)
            self.send_message(call, message)
            self.send_trailers(call, answers.TRAILERS)
            return
        self.sendable -= size
        stream_id = call.id
        before = _BEFORE.pack(_HEADERS_BEGIN, stream_id, answers.HEADERS, size << 8, 0, stream_id, 0, size - 5)
        self._out += (before, message, _AFTER.pack(_TRAILERS_BEGIN, stream_id, answers.TRAILERS))
        self._end_local(call)
        if not self.corked:
            self._announce()

    def send_message(self, call: Stream, message: bytes) -> None:
        """Send one message of an answer."""
        self.send_data(call, _PREFIX.pack(0, len(message)), message)

    def go_on(self) -> None:
        """The client takes what it is sent again."""
        self.paused = False
        for call in list(self.waiting):
            call.drained()

    def cancel_calls(self) -> None:
        """End every call that is still in progress; answers that only wait to be read stay."""
        for stream in list(self.streams.values()):
            if isinstance(stream, NativeCall) and not stream.ended:
                stream.finish(answers.GOING)


def _accept(connection: ServerConnection[Head], stream_id: int, head: Head | None) -> Stream:
    """Open the stream of a call, or answer it at once."""
    assert isinstance(connection, Peer)
    if head is None:
        return _refused(connection, stream_id, answers.TOO_MANY_FIELDS)
    if head.refusal:
        return _refused(connection, stream_id, head.refusal)
    if connection.crowded:
        return _refused(connection, stream_id, answers.only_status(answers.CROWDED))
    assert head.method is not None
    if not head.method.client_streaming and not head.method.server_streaming:
        return UnaryCall(connection, stream_id, head)
    return StreamingCall(connection, stream_id, head)


def _refused(connection: Peer, stream_id: int, block: bytes) -> Stream:
    stream = Stream(connection, stream_id)
    connection.send_trailers(stream, block)
    return stream
