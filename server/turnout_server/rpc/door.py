"""Servicers' methods as what transports call: bytes in, through the chain, and bytes or a status out.

Servicers are plain classes whose methods have the names that their service's descriptor gives them. A method takes the
request (for a client stream: an asynchronous iterator of requests) and the `Call`; it returns the response or, for a
server stream, is an asynchronous generator of responses. Nothing here knows which transport carries the bytes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from turnout_server.rpc.chain import OK, Chain, Element, End, Passage, end_of_abandoned
from turnout_server.transport.call import Call
from turnout_server.transport.gate import Gate
from turnout_server.transport.method import CallFailed, Methods
from turnout_server.transport.status import INTERNAL, Status, status_of
from turnout_server.transport.values import shape_of
from turnout_server.vocabulary.errors import InvalidRequestError, TurnoutError
from turnout_server.vocabulary.record import code_of

_log = structlog.get_logger("turnout.rpc")

QUICK = frozenset(
    {
        "inference.GRPCInferenceService/ModelInfer",
        "turnout.v1.InferenceService/Infer",
        "turnout.v1.PricingService/PredictPrice",
        "turnout.v1.RankingService/Rank",
        "turnout.v1.RecommendationService/Recommend",
    }
)
"""The methods that are called most, and often end without waiting: a transport may run them without a task of their
own. What they await are futures, and they do nothing that needs `asyncio.current_task`, as `asyncio.timeout` does."""


class Door(NamedTuple):
    """What stands around a service's methods."""

    gate: Gate
    """What their calls go in and out by; `elements` has the one that asks it."""
    elements: Sequence[Element]
    """The outermost first."""


def methods_of(service: ServiceDescriptor, servicer: object, door: Door) -> Methods:
    """Return all methods of *service*, answered by *servicer*'s methods of the same names.

    Args:
        service: the service's descriptor.
        servicer: has a method for each of the service's.
        door: what calls go through on their way.
    """
    paths = {f"{service.full_name}/{method.name}": method for method in service.methods}
    return {path: Handler(path, method, getattr(servicer, method.name), door) for path, method in paths.items()}


class Handler:
    """One method, with the chain around it. Messages are bytes here, on both sides."""

    __slots__ = (
        "_chain",
        "_decode",
        "_descriptor",
        "_perform",
        "client_streaming",
        "gate",
        "path",
        "quick",
        "server_streaming",
        "shape",
    )

    def __init__(self, path: str, descriptor: MethodDescriptor, perform: Callable[..., Any], door: Door) -> None:
        """Wrap *perform*, a servicer's method for *descriptor*, which callers know as *path*."""
        self.path = path
        self.client_streaming = descriptor.client_streaming
        self.server_streaming = descriptor.server_streaming
        self.quick = path in QUICK
        """Whether `unary` may be run without a task of its own; see `QUICK`."""
        self.shape = shape_of(descriptor.input_type)
        """What its callers' messages consist of."""
        self.gate = door.gate
        """What the method's calls go in and out by."""
        self._chain = Chain(path, door.elements)
        self._descriptor = descriptor
        self._decode: Callable[[bytes], Message] = GetMessageClass(descriptor.input_type).FromString
        self._perform = perform

    async def unary(self, raw: bytes, call: Call) -> bytes:
        """Answer one message with one.

        Raises:
            CallFailed: it was not answered.
        """
        passage, end = Passage(self._chain, call), OK
        try:
            passage.enter()
            response: Message = await self._perform(self._parse(raw), call)
            return response.SerializeToString()
        except Exception as error:
            status = self._failed(error)
            end = _end_of(status, error)
        except BaseException:
            end = end_of_abandoned(call.deadline, time.monotonic())
            raise
        finally:
            passage.leave(end)
        raise CallFailed(status)

    async def stream(self, raw: bytes | AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        """Yield the answers to a message or, where clients stream too, to an iterator of messages.

        Raises:
            CallFailed: not everything was answered.
        """
        passage, end = Passage(self._chain, call), OK
        try:
            passage.enter()
            request = self._parse(raw) if isinstance(raw, bytes) else self._requests(raw)
            async with contextlib.aclosing(self._perform(request, call)) as responses:
                async for response in responses:
                    yield response.SerializeToString()
            return
        except Exception as error:
            status = self._failed(error)
            end = _end_of(status, error)
        except BaseException:
            end = end_of_abandoned(call.deadline, time.monotonic())
            raise
        finally:
            passage.leave(end)
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


def _end_of(status: Status, error: Exception) -> End:
    return End(status.code.name, code_of(error))
