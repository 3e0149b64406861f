"""Calls that the engine carries, as its event loop runs them: with one message each way, or with streams of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog

from turnout_server.transport.method import CallFailed, Method
from turnout_server.transport.status import INTERNAL, Status
from turnout_server.transport.stepper import Stepper
from turnout_server.vocabulary.errors import ShuttingDownError

if TYPE_CHECKING:
    from turnout_engine import Engine

_log = structlog.get_logger("turnout.rpc")
IN_TRANSIT_S: Final = 0.05
"""What calls and messages that are on their way get to arrive, and the server's goodbye to be read, in seconds."""
_PREFIX_SIZE: Final = 5
"""What the engine puts before a message, in bytes."""
_MOST_UNSENT: Final = 64 * 1024
"""Bytes that a stream may have with the engine; with more, its handler waits."""
_BURST: Final = 64 * 1024
"""Bytes that a handler that never waits may send before others have their turn."""
_MESSAGE_COST: Final = 512
"""What making a message costs, in bytes of one that is large."""
SpanOf = Callable[[], tuple[str, str] | None]
"""Returns the span of the call that is being handled, if it is recorded, as `traceparent` and `tracestate`."""
_GOING: Final = Status(grpc.StatusCode.UNAVAILABLE, "the server is shutting down", ())


class EngineCall:
    """One call; also the `Call` that servicers see."""

    __slots__ = ("_calls", "_engine", "_method", "_number", "_span", "address", "deadline", "metadata", "principal")

    def __init__(self, engine: Engine, calls: dict[int, EngineCall], number: int, method: Method, span: SpanOf) -> None:
        self._span = span
        self._engine = engine
        self._calls = calls
        self._number = number
        self._method = method
        self.address = ""
        """See `Call.address`."""
        self.metadata: dict[str, str] = {}
        """See `Call.metadata`."""
        self.deadline: float | None = None
        """See `Call.deadline`."""
        self.principal = ""
        """See `Call.principal`."""

    def begin(self, message: bytes | None, loop: asyncio.AbstractEventLoop) -> None:
        """Run the handler."""
        raise NotImplementedError

    def cancel(self) -> None:
        """The call is over, whatever the handler does."""
        raise NotImplementedError

    def _failed(self, error: BaseException) -> None:
        """End the call with the status of what its handler raised."""
        if isinstance(error, CallFailed):
            status = error.status
        elif isinstance(error, asyncio.CancelledError):
            status = _GOING
        else:
            _log.error("call failed", exc_info=error)
            status = INTERNAL
        del self._calls[self._number]
        self._engine.end(self._number, code_of(status), status.message, status.trailers)


class UnaryCall(EngineCall):
    """A call with one message each way."""

    __slots__ = ("_running",)

    _running: Stepper | asyncio.Task[bytes] | None

    def begin(self, message: bytes | None, loop: asyncio.AbstractEventLoop) -> None:
        """See `EngineCall.begin`. What is quick is run at once, without a task of its own."""
        assert message is not None
        self._running = None
        coroutine: Any = self._method.unary(message, self)
        if not self._method.quick:
            task: asyncio.Task[bytes] = loop.create_task(coroutine)
            self._running = task
            task.add_done_callback(self._task_done)
            return
        context = copy_context()
        try:
            yielded = context.run(coroutine.send, None)
        except StopIteration as end:
            self._ended(end.value, None)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._ended(None, error)
        else:
            self._running = Stepper(coroutine, context, yielded, self._ended, loop)

    def cancel(self) -> None:
        """See `EngineCall.cancel`."""
        if self._running is not None:
            self._running.cancel()

    def _task_done(self, task: asyncio.Task[bytes]) -> None:
        if task.cancelled():
            self._ended(None, asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self._ended(None, error)
        else:
            self._ended(task.result(), None)

    def _ended(self, answer: bytes | None, error: BaseException | None) -> None:
        self._running = None
        if answer is not None:
            del self._calls[self._number]
            self._engine.answer(self._number, answer)
        else:
            assert error is not None
            self._failed(error)


class StreamingCall(EngineCall):
    """A call with any number of messages from the server, and one or any number from the client: a task."""

    __slots__ = ("_burst", "_came", "_half_closed", "_loop", "_message", "_room", "_task", "_unsent")

    _loop: asyncio.AbstractEventLoop
    _task: asyncio.Task[None]

    def begin(self, message: bytes | None, loop: asyncio.AbstractEventLoop) -> None:
        """See `EngineCall.begin`."""
        self._loop = loop
        self._message = message
        self._half_closed = False
        self._came: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._unsent = 0
        self._burst = 0
        self._task = loop.create_task(self._run())
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        """See `EngineCall.cancel`."""
        self._task.cancel()

    # ------------------------------------------------------------ what arrives

    def message(self, message: bytes) -> None:
        """The message that was asked for has come."""
        self._message = message
        self._wake()

    def half_closed(self) -> None:
        """The client has no more messages."""
        self._half_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._came is not None and not self._came.done():
            self._came.set_result(None)

    async def _requests(self) -> AsyncGenerator[bytes, None]:
        """Yield the client's messages until it has no more.

        Raises:
            ShuttingDownError: the server shuts down before the client has sent all; what was read is still answered.
        """
        gate = self._method.gate
        gate.when_closing(self._wake)
        try:
            self._engine.more(self._number, self._span())
            while True:
                hurried = False
                while self._message is None:
                    if self._half_closed:
                        return
                    self._came = self._loop.create_future()
                    if gate.closing.is_set():
                        if hurried:
                            raise ShuttingDownError
                        hurried = True
                        self._loop.call_later(
                            IN_TRANSIT_S, self._wake
                        )  # what has arrived is on its way from the engine
                    await self._came
                message, self._message = self._message, None
                self._engine.more(self._number)  # one ahead, which comes while this one is answered
                yield message
        finally:
            gate.forget(self._wake)

    # ------------------------------------------------------------ what is sent

    async def _run(self) -> None:
        message, self._message = self._message, None
        requests = self._requests() if message is None else message
        async with contextlib.aclosing(self._method.stream(requests, self)) as responses:
            async for response in responses:
                await self._send(response)

    async def _send(self, message: bytes) -> None:
        self._engine.send(self._number, message)
        size = len(message) + _PREFIX_SIZE
        self._unsent += size
        self._burst += size + _MESSAGE_COST
        if self._burst > _BURST:
            self._burst = 0
            await asyncio.sleep(0)
        while self._unsent > _MOST_UNSENT:
            self._room = self._loop.create_future()
            await self._room

    def sent(self, size: int) -> None:
        """The client has room for so many bytes of what it was sent."""
        self._unsent -= size
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _done(self, task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)
        else:
            del self._calls[self._number]
            self._engine.end(self._number, 0)


def code_of(status: Status) -> int:
    """Return the number that the wire has for a status."""
    code: int = status.code.value[0]
    return code
