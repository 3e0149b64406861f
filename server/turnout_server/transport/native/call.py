"""What unary and streaming calls have in common: a stream that carries a call, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from turnout_server.http2.codes import ErrorCode, StreamFailure
from turnout_server.http2.stream import Stream
from turnout_server.transport.method import CallFailed
from turnout_server.transport.native import answers
from turnout_server.transport.native.messages import Message, MessageError, MessageReader
from turnout_server.transport.status import INTERNAL, Status

if TYPE_CHECKING:
    from turnout_server.transport.native.deadlines import Entry
    from turnout_server.transport.native.head import Head
    from turnout_server.transport.native.peer import Peer
    from turnout_server.transport.native.service import Service

_log = structlog.get_logger("turnout.rpc")


class NativeCall(Stream):
    """One call; also the `Call` that servicers see."""

    __slots__ = (
        "_deadline_entry",
        "_lingers",
        "_received",
        "_reserved",
        "deadline",
        "ended",
        "head",
        "metadata",
        "peer",
        "principal",
        "reader",
        "service",
    )

    def __init__(self, peer: Peer, stream_id: int, head: Head) -> None:
        """Open the stream of a call that begins with *head*."""
        Stream.__init__(self, peer, stream_id)
        service = peer.service
        self.peer = peer
        self.service: Service = service
        self.head = head
        self.metadata = head.metadata
        """See `Call.metadata`."""
        timeout = head.timeout
        self.deadline = None if timeout is None else service.clock() + timeout
        """See `Call.deadline`."""
        self.principal = ""
        """See `Call.principal`."""
        self.ended = False
        """Whether the handler is done; its answer may still wait for the client's windows."""
        self.reader: MessageReader | None = None
        self._deadline_entry: Entry | None = None
        self._received = 0
        self._reserved = 0
        self._lingers = False

    @property
    def address(self) -> str:
        """Where the caller is; see `Call.address`."""
        return self.peer.address

    # ------------------------------------------------------------ what arrives

    def feed(self, chunk: bytes, ended: bool) -> list[Message]:
        """Take a piece of the body; return the messages that it completes.

        Raises:
            StreamFailure: the body is not as long as was announced.
            MessageError: a message cannot be taken.
        """
        self._received += len(chunk)
        announced = self.head.length
        if announced >= 0 and (self._received != announced if ended else self._received > announced):
            raise StreamFailure(ErrorCode.PROTOCOL_ERROR, "content-length is wrong")
        reader = self.reader
        if reader is None:
            reader = self.reader = MessageReader(self.service.max_message_bytes)
        messages = reader.feed(chunk) if chunk else []
        if ended and not reader.between:
            raise MessageError(answers.TRUNCATED.code, answers.TRUNCATED.message)
        return messages

    def make_room(self) -> None:
        """Let the client send the rest of the message that has begun, if its window is too small for that."""
        assert self.reader is not None
        lacking = self.reader.missing - self.receivable
        if lacking > 0 and self.remote_open and not self._reserved:
            self.peer.reservations.ask(self, lacking, self._got_room)

    def _got_room(self, size: int) -> None:
        self._reserved = size
        self.connection.grant(self, size)

    def taken_room(self) -> int:
        """Return what was reserved for a message that is whole now; whoever has that gives it back."""
        reserved, self._reserved = self._reserved, 0
        return reserved

    def give_room_back(self) -> None:
        """Give back what was reserved for a message that is taken, or will never be whole."""
        if self._reserved:
            self.peer.reservations.give_back(self.taken_room())

    # ------------------------------------------------------------ how it ends

    def watch_deadline(self) -> None:
        """See to it that the call ends when its deadline passes."""
        if self.deadline is not None and self._deadline_entry is None:
            self._deadline_entry = self.service.deadlines.add(self.deadline, self)

    def expire(self) -> None:
        """The deadline has passed: answer that, whatever the handler does."""
        self._deadline_entry = None
        self.finish(answers.EXPIRED)

    def finish(self, status: Status) -> None:
        """End the call from outside its handler, which is cancelled."""
        if self.local_open:
            self.connection.drop_unsent(self)
            self.send_status(status)
        self._stop()

    def send_status(self, status: Status) -> None:
        """End the call with a status that is not OK, before any answer."""
        self.connection.send_trailers(self, answers.only_status(status))

    def lost(self, code: ErrorCode) -> None:
        """The client has gone, or only this call of its."""
        self._stop()

    def _stop(self) -> None:
        self._let_go()
        if self._cancel() and not self._lingers:
            self._lingers = True
            self.peer.lingering += 1

    def _cancel(self) -> bool:
        """Cancel the handler; return whether it still runs."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """Leave the lists in which others know this call."""
        if self._deadline_entry is not None:
            self.service.deadlines.remove(self._deadline_entry)
            self._deadline_entry = None
        if self._reserved or self.remote_open or self.reader is not None:
            self.peer.reservations.withdraw(self)
            self.give_room_back()

    def over(self) -> None:
        """The handler has ended."""
        self.ended = True
        if self._lingers:
            self._lingers = False
            self.peer.lingering -= 1
        self._let_go()

    def status_for(self, error: BaseException) -> Status:
        """Return how a call ends whose handler raised *error*."""
        if isinstance(error, CallFailed | MessageError):
            return error.status
        if not isinstance(error, asyncio.CancelledError):
            _log.error("call failed", exc_info=error)
            return INTERNAL
        return answers.GOING
