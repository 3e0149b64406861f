"""The one wrapper around every handler: lets the call in, decodes, traces, counts, and turns errors into statuses.

Servicers are plain classes whose methods have the names that their service's descriptor gives them. A method takes the
request (for a client stream: an asynchronous iterator of requests) and the `Call`; it returns the response or, for a
server stream, is an asynchronous generator of responses.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple, cast

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from turnout_server.errors import DeadlineExpiredError, InvalidRequestError, ShuttingDownError, TurnoutError
from turnout_server.gateway import spans as tracing
from turnout_server.gateway.instruments import Instruments
from turnout_server.gateway.spans import Spans
from turnout_server.rpc.gate import Gate
from turnout_server.rpc.status import INTERNAL, Status, status_of

_log = structlog.get_logger("turnout.rpc")


class GrpcCall:
    """A `Call` over grpc.aio's context."""

    __slots__ = ("_context", "_metadata")

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context
        self._metadata: dict[str, str] | None = None

    @property
    def metadata(self) -> Mapping[str, str]:
        """The caller's metadata; see `Call.metadata`."""
        if self._metadata is None:
            pairs = self._context.invocation_metadata() or ()
            self._metadata = {key: value for key, value in pairs if isinstance(value, str)}
        return self._metadata

    @property
    def deadline(self) -> float | None:
        """When the caller stops waiting; see `Call.deadline`."""
        # None without a deadline, whatever the stubs say.
        remaining = cast("float | None", self._context.time_remaining())
        return None if remaining is None else time.monotonic() + remaining


class Surroundings(NamedTuple):
    """What every call meets on its way in and out."""

    gate: Gate
    instruments: Instruments
    spans: Spans


def handlers_of(
    service: ServiceDescriptor, servicer: object, surroundings: Surroundings, name: str = ""
) -> grpc.GenericRpcHandler:
    """Return a handler for all methods of *service*, answered by *servicer*'s methods of the same names.

    Args:
        service: the service's descriptor.
        servicer: has a method for each of the service's.
        surroundings: what calls meet on their way.
        name: what the service is called, where that is not its descriptor's name.
    """
    name = name or service.full_name
    methods = {
        method.name: _Wrapper(f"{name}/{method.name}", method, getattr(servicer, method.name), surroundings).handler()
        for method in service.methods
    }
    return grpc.method_handlers_generic_handler(name, methods)


_CANCELLED = "CANCELLED", "CANCELLED"
_EXPIRED = "DEADLINE_EXCEEDED", DeadlineExpiredError.reason


class _Record:
    """Counts and traces one call, from its arrival to its end."""

    __slots__ = ("_call", "_code", "_instruments", "_method", "_reason", "_span", "_spans", "_started_ns", "_token")

    def __init__(self, method: str, call: GrpcCall, surroundings: Surroundings) -> None:
        self._method = method
        self._call = call
        self._instruments = surroundings.instruments
        self._spans = surroundings.spans
        self._code = "OK"
        self._reason = ""
        self._span = self._spans.start(method, call.metadata)
        self._token = tracing.enter(self._span)
        self._started_ns = time.perf_counter_ns()

    def __enter__(self) -> _Record:
        self._instruments.in_flight += 1
        return self

    def failed(self, status: Status, error: Exception) -> None:
        """The call ends with *status*."""
        self._code = status.code.name
        self._reason = error.reason if isinstance(error, TurnoutError) else "INTERNAL"

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            # The handler of a call whose deadline passes is cancelled like one whose caller has gone.
            deadline = self._call.deadline
            expired = deadline is not None and deadline <= time.monotonic()
            self._code, self._reason = _EXPIRED if expired else _CANCELLED
        self._instruments.in_flight -= 1
        self._instruments.record_rpc(self._method, self._code, time.perf_counter_ns() - self._started_ns)
        self._spans.end(self._span, self._code, self._reason)
        tracing.leave(self._token)


class _Wrapper:
    """What every call of one method goes through."""

    __slots__ = ("_decode", "_descriptor", "_gate", "_method", "_perform", "_surroundings")

    def __init__(
        self, method: str, descriptor: MethodDescriptor, perform: Callable[..., Any], surroundings: Surroundings
    ) -> None:
        self._method = method
        self._descriptor = descriptor
        self._decode: Callable[[bytes], Message] = GetMessageClass(descriptor.input_type).FromString
        self._perform = perform
        self._gate = surroundings.gate
        self._surroundings = surroundings

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """Return what grpc registers. Messages stay bytes there, so that a malformed one gets a clean status."""
        if self._descriptor.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream_stream)
        if self._descriptor.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._unary_stream)
        return grpc.unary_unary_rpc_method_handler(self._unary_unary)

    async def _unary_unary(self, raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        call = GrpcCall(context)
        with _Record(self._method, call, self._surroundings) as record:
            try:
                self._gate.enter()
                try:
                    response: Message = await self._perform(self._parse(raw), call)
                    return response.SerializeToString()
                finally:
                    self._gate.leave()
            except Exception as error:
                status = self._failed(error)
                record.failed(status, error)
        await self._abort(context, status)
        raise AssertionError("abort raises")

    async def _unary_stream(self, raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        call = GrpcCall(context)
        with _Record(self._method, call, self._surroundings) as record:
            try:
                self._gate.enter()
                try:
                    async with contextlib.aclosing(self._perform(self._parse(raw), call)) as responses:
                        async for response in responses:
                            yield response.SerializeToString()
                finally:
                    self._gate.leave()
                return
            except Exception as error:
                status = self._failed(error)
                record.failed(status, error)
        await self._abort(context, status)

    async def _stream_stream(
        self, raw: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        call = GrpcCall(context)
        with _Record(self._method, call, self._surroundings) as record:
            try:
                self._gate.enter()
                try:
                    requests = self._requests(raw)
                    async with contextlib.aclosing(self._perform(requests, call)) as responses:
                        async for response in responses:
                            yield response.SerializeToString()
                finally:
                    self._gate.leave()
                return
            except Exception as error:
                status = self._failed(error)
                record.failed(status, error)
        await self._abort(context, status)

    async def _requests(self, raw: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        """Yield a client's requests until it has no more.

        Raises:
            InvalidRequestError: one is malformed.
            ShuttingDownError: the server shuts down before the client has sent all; what was read is still answered.
        """
        closing = asyncio.ensure_future(self._gate.closing.wait())
        iterator = aiter(raw)
        reading: asyncio.Future[bytes] | None = None
        try:
            while True:
                reading = asyncio.ensure_future(anext(iterator))
                await asyncio.wait((reading, closing), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    raise ShuttingDownError
                try:
                    message = reading.result()
                except StopAsyncIteration:
                    return
                yield self._parse(message)
        finally:
            closing.cancel()
            if reading is not None and not reading.cancel() and not reading.cancelled():
                reading.exception()  # it ended while this generator was being closed, and nobody else will look

    async def _abort(self, context: grpc.aio.ServicerContext[Any, Any], status: Status) -> None:
        await self._gate.errors_may_go.wait()
        await context.abort(status.code, status.message, status.trailers)

    def _parse(self, raw: bytes) -> Message:
        try:
            return self._decode(raw)
        except DecodeError as error:
            raise InvalidRequestError(f"the message is not a valid {self._descriptor.input_type.full_name}") from error

    def _failed(self, error: Exception) -> Status:
        status = status_of(error)
        if status is INTERNAL:
            _log.error("call failed", method=self._method, exc_info=error)
        elif isinstance(error, TurnoutError) and status.code is grpc.StatusCode.INTERNAL:
            _log.error("call failed", method=self._method, reason=error.reason, exc_info=error)
        return status
