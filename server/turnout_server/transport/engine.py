"""The methods over the engine's HTTP/2.

The engine carries calls on threads of its own, and tells this event loop of them: events come in one list a turn, and
what handlers say goes back by the call's number. `turnout_engine.pyi` has the contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog

from turnout_server import machine
from turnout_server.config import ErrorForm, LimitsConfig
from turnout_server.transport.listeners import listeners, most_connections
from turnout_server.transport.method import CallFailed, Method, Methods
from turnout_server.transport.status import INTERNAL, Status
from turnout_server.transport.stepper import Stepper
from turnout_server.vocabulary.errors import ConfigurationError, ShuttingDownError

if TYPE_CHECKING:
    from turnout_engine import CallEvent, Engine, Event, Plane

_log = structlog.get_logger("turnout.rpc")
_IN_TRANSIT_S: Final = 0.05
"""What calls and messages that are on their way get to arrive, and the server's goodbye to be read, in seconds."""
_ANSWERS_S: Final = 5.0
"""What answers get that clients are still reading, in seconds."""
_EVENTS_A_TURN: Final = 32
"""Events taken before others have their turn."""
_PREFIX_SIZE: Final = 5
"""What the engine puts before a message, in bytes."""
_MOST_UNSENT: Final = 64 * 1024
"""Bytes that a stream may have with the engine; with more, its handler waits."""
_BURST: Final = 64 * 1024
"""Bytes that a handler that never waits may send before others have their turn."""
_MESSAGE_COST: Final = 512
"""What making a message costs, in bytes of one that is large."""
_LEAST_MEMORY: Final = 64 * 1024 * 1024
_MOST_MEMORY: Final = 4 * 1024 * 1024 * 1024
"""What callers may make the process hold where nobody has said so, in bytes."""
SpanOf = Callable[[], tuple[str, str] | None]
"""Returns the span of the call that is being handled, if it is recorded, as `traceparent` and `tracestate`."""
_GOING: Final = Status(grpc.StatusCode.UNAVAILABLE, "the server is shutting down", ())


class EngineTransport:
    """The engine's server, with an orderly end."""

    def __init__(
        self,
        methods: Methods,
        limits: LimitsConfig,
        plane: Plane | None = None,
        *,
        errors: ErrorForm = "trailers_only",
        span: SpanOf = lambda: None,
        urgent: Collection[str] = (),
        quotas: Mapping[str, int] | None = None,
    ) -> None:
        """Make a server that does not listen yet.

        Args:
            methods: what calls are handed to.
            limits: how large messages may be, and how much may be in them.
            plane: answers what it can of them by itself; None for nothing.
            errors: how they travel.
            span: for spans that the plane makes below it.
            urgent: the paths of methods whose calls are every other one that this event loop hears of, where both wait.
            quotas: how many calls of a method, by its path, may be in progress at once; of one more nobody here hears.

        Raises:
            ConfigurationError: the engine is not installed.
        """
        self._engine = _engine()(
            {path: (method.client_streaming, method.server_streaming) for path, method in methods.items()},
            shards=_cores(),
            max_message_bytes=limits.max_message_bytes,
            max_message_values=limits.max_message_values,
            max_compression_ratio=limits.max_compression_ratio,
            max_connections=most_connections(),
            connection_calls=limits.connection_calls,
            request_time_s=limits.request_s,
            stream_silence_s=limits.stream_silence_s,
            silent_streams=limits.most_silent,
            memory_bytes=limits.memory_bytes or _memory_bytes(),
            shapes={path: method.shape for path, method in methods.items()},
            headers_first=errors == "headers_and_trailers",
            urgent=list(urgent),
            quotas=quotas or {},
            plane=plane,
        )
        self._methods = methods
        self._span = span
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, EngineCall] = {}
        self._closed = asyncio.Event()
        self._loop.add_reader(self._engine.fileno(), self._take)

    async def start(self, host: str, port: int) -> int:
        """Take calls on *host* and *port*, which may be 0; return the port.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        sockets = await listeners(host, port)
        try:
            self._engine.listen([one.fileno() for one in sockets])
            picked: int = sockets[0].getsockname()[1]
            return picked
        finally:
            for one in sockets:  # the engine has its own of each
                one.close()

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._engine.connections

    def counts(self) -> Mapping[str, int]:
        """Return what came of connections and calls, by the names of `instruments.transport`."""
        taken, there = self._engine.memory
        own = {"connections": self._engine.connections, "memory.taken": taken, "memory.limit": there}
        return {**self._engine.counts(), **own}

    async def say_goodbye(self) -> None:
        """End a drained server: first tell every client to go elsewhere, and then end what is left.

        Calls that were on their way in that moment are still taken, and refused by name, so that no client has to
        wonder whether its call was carried out.
        """
        self._engine.drain()
        try:
            await asyncio.sleep(_IN_TRANSIT_S)
            self._engine.close(_ANSWERS_S)
            await self._closed.wait()
        finally:
            self._engine.close(0.0)

    # ------------------------------------------------------------ what the engine says

    def _take(self) -> None:
        for event in self._engine.events(_EVENTS_A_TURN):
            self._hear_safely(event)

    def _hear_safely(self, event: Event) -> None:
        try:
            self._hear(event)
        except Exception:
            _log.exception("event failed", event_kind=event[0])
            if event[0] == "call":  # a call without a last word would count as running for ever
                self._calls.pop(event[1], None)
                self._engine.end(event[1], _code(INTERNAL), INTERNAL.message)

    def _hear(self, event: Event) -> None:
        if event[0] == "call":
            self._begin(event)
            return
        if event[0] == "closed":
            self._loop.remove_reader(self._engine.fileno())
            self._closed.set()
            return
        call = self._calls.get(event[1])
        if call is None:  # its handler has ended
            return
        if event[0] == "gone":
            call.cancel()
        elif isinstance(call, StreamingCall):
            if event[0] == "message":
                call.message(event[2])
            elif event[0] == "half_closed":
                call.half_closed()
            else:
                call.sent(event[2])

    def _begin(self, event: CallEvent) -> None:
        _, number, path, metadata, peer, deadline, message = event
        method = self._methods[path]
        kind: type[EngineCall] = StreamingCall if method.client_streaming or method.server_streaming else UnaryCall
        call = kind(self._engine, self._calls, number, method, self._span)
        call.metadata = metadata
        call.address = peer
        call.deadline = deadline
        self._calls[number] = call
        call.begin(message, self._loop)


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
        self._engine.end(self._number, _code(status), status.message, status.trailers)


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
                            _IN_TRANSIT_S, self._wake
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


def _code(status: Status) -> int:
    code: int = status.code.value[0]
    return code


def _cores() -> int:
    # As `execution.workers.usable_cores`, of which this package knows nothing. A shard more than that would only split
    # queues: requests that might run together would wait apart.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_bytes() -> int:
    # A fourth: the rest is for models, for Python, and for what allocators cannot give back.
    return min(max(machine.memory_bytes() // 4, _LEAST_MEMORY), _MOST_MEMORY)


def _engine() -> Callable[..., Engine]:
    try:
        from turnout_engine import Engine
    except ImportError as error:
        raise ConfigurationError(
            "the engine is the package turnout-engine, which is not installed; see docs/engine.md"
        ) from error
    return Engine
