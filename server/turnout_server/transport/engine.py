"""The methods over the engine's HTTP/2.

The engine carries calls on threads of its own, and tells this event loop of them: events come in one list a turn, and
what handlers say goes back by the call's number. `turnout_engine.pyi` has the contract.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

import structlog

from turnout_server import machine
from turnout_server.config import ErrorForm, LimitsConfig
from turnout_server.transport.engine_calls import IN_TRANSIT_S, EngineCall, SpanOf, StreamingCall, UnaryCall, code_of
from turnout_server.transport.listeners import listeners, most_connections
from turnout_server.transport.method import Methods
from turnout_server.transport.status import INTERNAL
from turnout_server.vocabulary.errors import ConfigurationError

if TYPE_CHECKING:
    from turnout_engine import CallEvent, Engine, Event, Plane

_log = structlog.get_logger("turnout.rpc")
_ANSWERS_S: Final = 5.0
"""What answers get that clients are still reading, in seconds."""
_EVENTS_A_TURN: Final = 32
"""Events taken before others have their turn."""
_LEAST_MEMORY: Final = 64 * 1024 * 1024
_MOST_MEMORY: Final = 4 * 1024 * 1024 * 1024
"""What callers may make the process hold where nobody has said so, in bytes."""


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
            await asyncio.sleep(IN_TRANSIT_S)
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
                self._engine.end(event[1], code_of(INTERNAL), INTERNAL.message)

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
