"""The one wrapper around every handler: lets the call in, decodes, traces, counts, and turns errors into statuses.

Servicers are plain classes whose methods have the names that their service's descriptor gives them. A method takes the
request (for a client stream: an asynchronous iterator of requests) and the `Call`; it returns the response or, for a
server stream, is an asynchronous generator of responses. Nothing here knows which transport carries the bytes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, NamedTuple

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from turnout_server.gateway import spans as tracing
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.instruments import Instruments
from turnout_server.transport.call import Call
from turnout_server.transport.gate import Gate
from turnout_server.transport.method import CallFailed, Methods
from turnout_server.transport.status import INTERNAL, Status, status_of
from turnout_server.vocabulary.errors import DeadlineExpiredError, InvalidRequestError, TurnoutError

_log = structlog.get_logger("turnout.rpc")

QUICK = frozenset(
    {
        "inference.GRPCInferenceService/ModelInfer",
        "turnout.v1.PricingService/PredictPrice",
        "turnout.v1.RankingService/Rank",
        "turnout.v1.RecommendationService/Recommend",
    }
)
"""The methods that are called most, and often end without waiting: a transport may run them without a task of their
own. What they await are futures, and they do nothing that needs `asyncio.current_task`, as `asyncio.timeout` does."""


class Surroundings(NamedTuple):
    """What every call meets on its way in and out."""

    gate: Gate
    instruments: Instruments
    spans: Spans


def methods_of(service: ServiceDescriptor, servicer: object, surroundings: Surroundings, name: str = "") -> Methods:
    """Return all methods of *service*, answered by *servicer*'s methods of the same names.

    Args:
        service: the service's descriptor.
        servicer: has a method for each of the service's.
        surroundings: what calls meet on their way.
        name: what the service is called, where that is not its descriptor's name.
    """
    paths = {f"{name or service.full_name}/{method.name}": method for method in service.methods}
    return {path: Handler(path, method, getattr(servicer, method.name), surroundings) for path, method in paths.items()}


_CANCELLED = "CANCELLED", "CANCELLED"
_EXPIRED = "DEADLINE_EXCEEDED", DeadlineExpiredError.reason


class _Record:
    """Counts and traces one call, from its arrival to its end."""

    __slots__ = ("_call", "_code", "_instruments", "_method", "_reason", "_span", "_spans", "_started_ns", "_token")

    def __init__(self, method: str, call: Call, surroundings: Surroundings) -> None:
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


class Handler:
    """One method, with what every call of it goes through. Messages are bytes here, on both sides."""

    __slots__ = (
        "_decode",
        "_descriptor",
        "_gate",
        "_perform",
        "_surroundings",
        "client_streaming",
        "path",
        "quick",
        "server_streaming",
    )

    def __init__(
        self, path: str, descriptor: MethodDescriptor, perform: Callable[..., Any], surroundings: Surroundings
    ) -> None:
        """Wrap *perform*, a servicer's method for *descriptor*, which callers know as *path*."""
        self.path = path
        self.client_streaming = descriptor.client_streaming
        self.server_streaming = descriptor.server_streaming
        self.quick = path in QUICK
        """Whether `unary` may be run without a task of its own; see `QUICK`."""
        self._descriptor = descriptor
        self._decode: Callable[[bytes], Message] = GetMessageClass(descriptor.input_type).FromString
        self._perform = perform
        self._gate = surroundings.gate
        self._surroundings = surroundings

    @property
    def gate(self) -> Gate:
        """What the method's calls go in and out by."""
        return self._gate

    async def unary(self, raw: bytes, call: Call) -> bytes:
        """Answer one message with one.

        Raises:
            CallFailed: it was not answered.
        """
        with _Record(self.path, call, self._surroundings) as record:
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
        raise CallFailed(status)

    async def stream(self, raw: bytes | AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        """Yield the answers to a message or, where clients stream too, to an iterator of messages.

        Raises:
            CallFailed: not everything was answered.
        """
        with _Record(self.path, call, self._surroundings) as record:
            try:
                self._gate.enter()
                try:
                    request = self._parse(raw) if isinstance(raw, bytes) else self._requests(raw)
                    async with contextlib.aclosing(self._perform(request, call)) as responses:
                        async for response in responses:
                            yield response.SerializeToString()
                finally:
                    self._gate.leave()
                return
            except Exception as error:
                status = self._failed(error)
                record.failed(status, error)
        raise CallFailed(status)

    async def _requests(self, raw: AsyncGenerator[bytes, None]) -> AsyncIterator[Message]:
        async with contextlib.aclosing(raw) as messages:
            async for message in messages:
                yield self._parse(message)

    def _parse(self, raw: bytes) -> Message:
        try:
            return self._decode(raw)
        except DecodeError as error:
            raise InvalidRequestError(f"the message is not a valid {self._descriptor.input_type.full_name}") from error

    def _failed(self, error: Exception) -> Status:
        status = status_of(error)
        if status is INTERNAL:
            _log.error("call failed", method=self.path, exc_info=error)
        elif isinstance(error, TurnoutError) and status.code is grpc.StatusCode.INTERNAL:
            _log.error("call failed", method=self.path, reason=error.reason, exc_info=error)
        return status
