"""Streaming calls: each is a task, which waits while the client does not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

from turnout_server.transport.native import answers
from turnout_server.transport.native.call import NativeCall
from turnout_server.transport.native.messages import PREFIX_SIZE, MessageError, inflated
from turnout_server.transport.status import Status
from turnout_server.vocabulary.errors import ShuttingDownError

if TYPE_CHECKING:
    from turnout_server.transport.native.head import Head
    from turnout_server.transport.native.peer import Peer

_GRANT_FROM: Final = 2
"""A window is given back in pieces of half of it, not for every message."""
_BURST: Final = 64 * 1024
"""Bytes that a handler that never waits may send before others have their turn, and what it sent is written."""
_MESSAGE_COST: Final = 512
"""What making a message costs, in bytes of one that is large."""


class StreamingCall(NativeCall):
    """A call with any number of messages from the server, and one or any number from the client."""

    __slots__ = ("_answered", "_burst", "_came", "_gone_on", "_queue", "_taken", "_task")

    def __init__(self, peer: Peer, stream_id: int, head: Head) -> None:
        """See `NativeCall`."""
        NativeCall.__init__(self, peer, stream_id, head)
        self._queue: deque[tuple[bool, bytes, int]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._answered = False
        self._taken = 0
        self._burst = 0
        self._came: asyncio.Future[None] | None = None
        self._gone_on: asyncio.Future[None] | None = None

    # ------------------------------------------------------------ what arrives

    def data(self, chunk: bytes, ended: bool) -> None:
        """See `Stream.data`."""
        try:
            for compressed, payload in self.feed(chunk, ended):
                self._queue.append((compressed, payload, self.taken_room()))
            self._check_count(ended)
        except MessageError as error:
            self.finish(error.status)
            return
        if not self.local_open:
            return
        self._wake()
        if not self._queue and not ended:
            self._grant()
        method = self.head.method
        assert method is not None
        if self._task is None and (ended or method.client_streaming):
            self._start()

    def opened(self) -> None:
        """The head is here. A client may want to hear from a stream before it says anything."""
        if self.head.method is not None and self.head.method.client_streaming:
            self._start()

    def _let_go(self) -> None:
        super()._let_go()
        while self._queue:
            _, _, reserved = self._queue.popleft()
            if reserved:
                self.peer.reservations.give_back(reserved)

    def _check_count(self, ended: bool) -> None:
        assert self.head.method is not None
        if not self.head.method.client_streaming and (len(self._queue) > 1 or (ended and not self._queue)):
            raise MessageError(answers.NOT_ONE_MESSAGE.code, answers.NOT_ONE_MESSAGE.message)

    def _wake(self) -> None:
        if self._came is not None and not self._came.done():
            self._came.set_result(None)

    def _grant(self) -> None:
        """Give back the window of what was taken, and make room for a message that needs more than all of it."""
        reader, taken = self.reader, self._taken
        if reader is None or not self.remote_open:
            return
        if taken * _GRANT_FROM >= self.connection.receive_window or (taken and reader.missing > self.receivable):
            self._taken = 0
            self.connection.grant(self, taken)
        self.make_room()

    async def _requests(self) -> AsyncGenerator[bytes, None]:
        """Yield the client's messages until it has no more.

        Raises:
            ShuttingDownError: the server shuts down before the client has sent all; what was read is still answered.
        """
        assert self.head.method is not None
        gate = self.head.method.gate
        gate.when_closing(self._wake)
        try:
            while True:
                while not self._queue:
                    if not self.remote_open:
                        return
                    if gate.closing.is_set():
                        raise ShuttingDownError
                    self._came = self.service.loop.create_future()
                    await self._came
                yield await self._next()
        finally:
            gate.forget(self._wake)

    async def _next(self) -> bytes:
        compressed, payload, reserved = self._queue.popleft()
        if reserved:  # not before: else a client whose messages nobody takes could have us hold any number of them
            self.peer.reservations.give_back(reserved)
        self._taken += len(payload) + PREFIX_SIZE - reserved
        if not self._queue:
            self._grant()
        if not compressed:
            return payload
        return await asyncio.to_thread(inflated, payload, self.head.encoding, self.service.max_message_bytes)

    # ------------------------------------------------------------ what is sent

    def _start(self) -> None:
        self.watch_deadline()
        self._task = self.service.loop.create_task(self._run())
        self._task.add_done_callback(self._done)

    async def _run(self) -> None:
        method = self.head.method
        assert method is not None
        requests = self._requests() if method.client_streaming else await self._next()
        async with contextlib.aclosing(method.stream(requests, self)) as responses:
            async for message in responses:
                await self._send(message)

    async def _send(self, message: bytes) -> None:
        if not self.local_open:
            return
        if not self._answered:
            self._answered = True
            self.connection.send_headers(self, answers.HEADERS)
        self.peer.send_message(self, message)
        self._burst += len(message) + _MESSAGE_COST
        if self._burst > _BURST:
            self._burst = 0
            await asyncio.sleep(0)
        while self._may_send() and (self.unsent is not None or self.peer.paused):
            self._gone_on = self.service.loop.create_future()
            self.peer.waiting.add(self)
            try:
                await self._gone_on
            finally:
                self.peer.waiting.discard(self)

    def _may_send(self) -> bool:
        return self.local_open

    def drained(self) -> None:
        """See `Stream.drained`."""
        if self._gone_on is not None and not self._gone_on.done():
            self._gone_on.set_result(None)

    def send_status(self, status: Status) -> None:
        """See `NativeCall.send_status`."""
        if self._answered:
            self.connection.send_trailers(self, answers.status_fields(status))
        else:
            super().send_status(status)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.local_open:
            if error is not None:
                self.send_status(self.status_for(error))
            else:
                self.connection.send_trailers(self, answers.TRAILERS if self._answered else _ONLY_OK)
        self.over()

    def _cancel(self) -> bool:
        self._queue.clear()
        if self._task is None:
            return False
        self._task.cancel()
        return True


_ONLY_OK: Final = answers.HEADERS + answers.TRAILERS
