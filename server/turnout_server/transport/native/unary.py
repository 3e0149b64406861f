"""Unary calls. Where most of them go is straight down: one piece of body, one step of the handler, one write."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING

from turnout_server.transport.native import answers
from turnout_server.transport.native.call import NativeCall
from turnout_server.transport.native.messages import PREFIX_SIZE, MessageError, inflated
from turnout_server.transport.stepper import Stepper

if TYPE_CHECKING:
    from turnout_server.transport.native.head import Head
    from turnout_server.transport.native.peer import Peer


class UnaryCall(NativeCall):
    """A call with one message each way."""

    __slots__ = ("_message", "_running")

    def __init__(self, peer: Peer, stream_id: int, head: Head) -> None:
        """See `NativeCall`."""
        NativeCall.__init__(self, peer, stream_id, head)
        self._message: tuple[bool, bytes] | None = None
        self._running: Stepper | asyncio.Task[bytes] | None = None

    def data(self, chunk: bytes, ended: bool) -> None:
        """See `Stream.data`."""
        if ended and self.reader is None and self.head.length < 0:
            size = len(chunk) - PREFIX_SIZE
            if 0 <= size <= self.service.max_message_bytes and chunk[:PREFIX_SIZE] == size.to_bytes(PREFIX_SIZE, "big"):
                # The flag is 0, and so is what a length of four bytes has as its fifth.
                self._begin(chunk[PREFIX_SIZE:])
                return
        try:
            self._take(chunk, ended)
        except MessageError as error:
            self.finish(error.status)

    def _take(self, chunk: bytes, ended: bool) -> None:
        for message in self.feed(chunk, ended):
            if self._message is not None:
                self.finish(answers.NOT_ONE_MESSAGE)
                return
            self._message = message
        if not ended:
            self.watch_deadline()
            self.make_room()
            return
        if self._message is None:
            self.finish(answers.NOT_ONE_MESSAGE)
            return
        (compressed, payload), self._message = self._message, None
        self.give_room_back()
        if compressed:
            self._run_as_task(self._inflate_and_answer(payload))
        else:
            self._begin(payload)

    # ------------------------------------------------------------ the handler

    def _begin(self, raw: bytes) -> None:
        method = self.head.method
        assert method is not None
        coroutine = method.unary(raw, self)
        if not method.quick:
            self._run_as_task(coroutine)
            return
        context = copy_context()
        try:
            yielded = context.run(coroutine.send, None)
        except StopIteration as end:
            self.peer.send_answer(self, end.value)
            self.over()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._ended(None, error)
        else:
            self.watch_deadline()
            self._running = Stepper(coroutine, context, yielded, self._ended, self.service.loop)

    async def _inflate_and_answer(self, payload: bytes) -> bytes:
        """Answer a compressed message. Taking it apart may take long, so that is done elsewhere."""
        limit = self.service.max_message_bytes
        raw = await asyncio.to_thread(inflated, payload, self.head.encoding, limit)
        method = self.head.method
        assert method is not None
        return await method.unary(raw, self)

    def _run_as_task(self, coroutine: object) -> None:
        self.watch_deadline()
        task: asyncio.Task[bytes] = self.service.loop.create_task(coroutine)  # type: ignore[arg-type]
        self._running = task
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[bytes]) -> None:
        if task.cancelled():
            self._ended(None, asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self._ended(None, error)
        else:
            self._ended(task.result(), None)

    def _ended(self, answer: bytes | None, error: BaseException | None) -> None:
        self._running = None
        if self.local_open:
            if answer is not None:
                self.peer.send_answer(self, answer)
            else:
                assert error is not None
                self.send_status(self.status_for(error))
        self.over()

    def _cancel(self) -> bool:
        if self._running is None:
            return False
        self._running.cancel()
        return True
