"""The methods over grpcio's own asyncio server, where there is no engine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, cast
from urllib.parse import unquote

import grpc

from turnout_server.config import ErrorForm, LimitsConfig, format_address
from turnout_server.transport.gate import Gate
from turnout_server.transport.method import CallFailed, Method, Methods
from turnout_server.transport.status import status_of
from turnout_server.transport.values import TooManyValuesError, Values
from turnout_server.vocabulary.errors import ConfigurationError, Kind, ShuttingDownError, TurnoutError

_LAST_WORDS_S = 0.2
"""What answers and refusals that are on their way get once the server stops, in seconds."""
_IN_TRANSIT_S = 0.05
"""What calls that are on their way get to arrive, and the server's goodbye to be sent, in seconds."""
# What one client may make us hold, as the engine has it. gRPC has no bound on connections, and where it has one on
# streams, it refuses those of clients that keep to it: it counts a stream for longer than they do. With
# `grpc.max_concurrent_streams` of 32 and 100 callers on one channel, every fifth call of a trial was UNAVAILABLE.
_FIELDS = 24 * 1024
"""Bytes of header fields of a request, as HTTP/2 counts them: 16 KiB of a caller's, what the count adds, and gRPC's."""
_PREFACE_S = 20.0
"""How long a client may take to say that it speaks HTTP/2."""
_VANISHED_S = 60.0
"""How long a client may be silent before it is asked whether it is there, and how long it may take to say so."""


class SilentStreamError(TurnoutError):
    """A stream's client has said nothing for too long."""

    reason = "STREAM_SILENT"
    kind = Kind.UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("the stream was silent for too long")


class GrpcCall:
    """A `Call` over grpc.aio's context."""

    __slots__ = ("_context", "_metadata", "principal")

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context
        self._metadata: dict[str, str] | None = None
        self.principal = ""
        """See `Call.principal`."""

    @property
    def address(self) -> str:
        """Where the caller is; see `Call.address`."""
        # ipv4:127.0.0.1:1234, ipv6:%5B::1%5D:1234
        return unquote(self._context.peer().partition(":")[2])

    @property
    def metadata(self) -> Mapping[str, str]:
        """The caller's metadata; see `Call.metadata`."""
        if self._metadata is None:
            found: dict[str, str] = {}
            for key, value in self._context.invocation_metadata() or ():
                if not isinstance(value, str):
                    continue
                # One list, which may come in parts (W3C Trace Context, section 3.3.1.1).
                found[key] = f"{found[key]},{value}" if key == "tracestate" and key in found else value
            self._metadata = found
        return self._metadata

    @property
    def deadline(self) -> float | None:
        """When the caller stops waiting; see `Call.deadline`."""
        # None without a deadline, whatever the stubs say.
        remaining = cast("float | None", self._context.time_remaining())
        return None if remaining is None else time.monotonic() + remaining


class GrpcioTransport:
    """grpcio's server, with an orderly end."""

    def __init__(self, methods: Methods, limits: LimitsConfig, *, errors: ErrorForm = "trailers_only") -> None:
        """Make a server that does not listen yet.

        Args:
            methods: what calls are handed to.
            limits: how large messages may be, and how much may be in them.
            errors: how they travel.
        """
        self._errors_may_go = asyncio.Event()
        self._errors_may_go.set()
        self._server = grpc.aio.server(options=_options(limits))
        self._values = Values(limits.max_message_values)
        self._refused = {"refusal.values": 0, "refusal.silent": 0}
        headers_first = errors == "headers_and_trailers"
        services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
        for path, method in methods.items():
            service, name = path.split("/")
            carrier = _Carrier(
                method, self._values, self._errors_may_go, headers_first, limits.stream_silence_s, self._refused
            )
            services.setdefault(service, {})[name] = carrier.handler()
        self._server.add_generic_rpc_handlers(
            tuple(grpc.method_handlers_generic_handler(service, those) for service, those in services.items())
        )

    async def start(self, host: str, port: int) -> int:
        """Take calls on *host* and *port*, which may be 0; return the port.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        address = format_address(host, port)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigurationError(
                f"cannot listen on {address}: is the port in use, or the host not this machine's?"
            ) from error
        await self._server.start()
        return port

    def counts(self) -> Mapping[str, int]:
        """Return what is known of refusals, by the names of `instruments.transport`: gRPC tells nothing of its own."""
        return dict(self._refused)

    async def say_goodbye(self) -> None:
        """Stop a drained server without cancelling the calls that come in at that moment, as gRPC does on its own.

        Clients that are refused ask again at once, and what is on its way when the server stops ends with CANCELLED,
        which nobody retries. So the last refusals are held back until the server has told every client to go elsewhere.
        """
        self._errors_may_go.clear()
        await asyncio.sleep(_IN_TRANSIT_S)
        stopping = asyncio.ensure_future(self._server.stop(_LAST_WORDS_S))
        await asyncio.sleep(_IN_TRANSIT_S)
        self._errors_may_go.set()
        await stopping
        self._values.close()


class _Carrier:
    """Carries the calls of one method."""

    __slots__ = ("_errors_may_go", "_headers_first", "_method", "_refused", "_silence_s", "_values")

    def __init__(
        self,
        method: Method,
        values: Values,
        errors_may_go: asyncio.Event,
        headers_first: bool,
        silence_s: float,
        refused: dict[str, int],
    ) -> None:
        self._method = method
        self._values = values
        self._errors_may_go = errors_may_go
        self._headers_first = headers_first
        self._silence_s = silence_s
        self._refused = refused

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """Return what grpc registers. Messages stay bytes there, so that a malformed one gets a clean status."""
        if self._method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream_stream)
        if self._method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._unary_stream)
        return grpc.unary_unary_rpc_method_handler(self._unary_unary)

    async def _unary_unary(self, raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        try:
            await self._check(raw)
            return await self._method.unary(raw, GrpcCall(context))
        except CallFailed as failure:
            failed = failure
        await self._abort(context, failed, answered=False)
        raise AssertionError("abort raises")

    async def _unary_stream(self, raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        answered = False
        try:
            await self._check(raw)
            async with contextlib.aclosing(self._method.stream(raw, GrpcCall(context))) as responses:
                async for response in responses:
                    yield response
                    answered = True
            return
        except CallFailed as failure:
            failed = failure
        await self._abort(context, failed, answered)

    async def _stream_stream(
        self, raw: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        answered = False
        try:
            silence = _Silence(self._silence_s)
            requests = self._checked(_until_closing(raw, self._method.gate, silence))
            async with contextlib.aclosing(self._method.stream(requests, GrpcCall(context))) as responses:
                async for response in responses:
                    yield response
                    answered = True
                    silence.answered()
            return
        except CallFailed as failure:
            failed = failure
        await self._abort(context, failed, answered)

    async def _check(self, raw: bytes) -> None:
        try:
            await self._values.check(raw, self._method.shape)
        except TooManyValuesError as error:
            self._refused["refusal.values"] += 1
            raise CallFailed(status_of(error)) from error

    async def _checked(self, messages: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(messages):
            try:
                async for message in messages:
                    await self._values.check(message, self._method.shape)
                    yield message
            except TooManyValuesError:
                self._refused["refusal.values"] += 1
                raise
            except SilentStreamError:
                self._refused["refusal.silent"] += 1
                raise

    async def _abort(self, context: grpc.aio.ServicerContext[Any, Any], failed: CallFailed, answered: bool) -> None:
        await self._errors_may_go.wait()
        status = failed.status
        if self._headers_first and not answered:
            await context.send_initial_metadata(())  # and wait until they are on their way
        await context.abort(status.code, status.message, status.trailers)


class _Silence:
    """How long a stream's client may yet say nothing.

    All such methods have one answer for each message: until it has come, the client's silence is none.
    """

    __slots__ = ("_most_s", "_since", "_under_way")

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._since = 0.0
        self._under_way = 0

    def begin(self) -> None:
        """The client's next message is waited for."""
        self._since = time.monotonic()

    def end(self) -> None:
        """The message has come."""
        self._under_way += 1

    def answered(self) -> None:
        """One message was answered."""
        self._under_way = max(0, self._under_way - 1)
        self._since = time.monotonic()

    @property
    def left_s(self) -> float:
        """For so many seconds more, at least."""
        return self._most_s if self._under_way else self._since + self._most_s - time.monotonic()


async def _until_closing(raw: AsyncIterator[bytes], gate: Gate, silence: _Silence) -> AsyncGenerator[bytes, None]:
    """Yield a client's messages until it has no more.

    Raises:
        ShuttingDownError: the server shuts down before the client has sent all; what was read is still answered.
        SilentStreamError: the client has said nothing for too long.
    """
    closing = asyncio.ensure_future(gate.closing.wait())
    iterator = aiter(raw)
    reading: asyncio.Future[bytes] | None = None
    try:
        while True:
            reading = asyncio.ensure_future(anext(iterator))
            silence.begin()
            while not (reading.done() or closing.done()):
                if (left_s := silence.left_s) <= 0:
                    raise SilentStreamError
                await asyncio.wait((reading, closing), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise ShuttingDownError
            try:
                message = reading.result()
            except StopAsyncIteration:
                return
            silence.end()
            yield message
    finally:
        closing.cancel()
        if reading is not None and not reading.cancel() and not reading.cancelled():
            reading.exception()  # it ended while this generator was being closed, and nobody else will look


def _options(limits: LimitsConfig) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # Between the two it would refuse at random.
        ("grpc.max_metadata_size", _FIELDS),
        ("grpc.absolute_max_metadata_size", _FIELDS),
        ("grpc.server_handshake_timeout_ms", round(_PREFACE_S * 1e3)),
        ("grpc.keepalive_time_ms", round(_VANISHED_S * 1e3)),
        ("grpc.keepalive_timeout_ms", round(_VANISHED_S * 1e3)),
        # Two servers on one port would split the traffic between them unnoticed.
        ("grpc.so_reuseport", 0),
        # Clients may keep idle connections alive without being told to calm down.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]
