"""A real server on loopback with a servicer that does as told, and raw calls to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import grpc
from google.protobuf.message import Message

from turnout.v1 import pricing_service_pb2 as v1
from turnout_server.config import LimitsConfig
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.families import Buckets
from turnout_server.instruments.instruments import Instruments
from turnout_server.rpc.server import Listening, listening
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.transport.call import Call

PRICING = v1.DESCRIPTOR.services_by_name["PricingService"]
TENSORS = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
METHOD = f"{PRICING.full_name}/PredictPrice"
STREAM = f"{TENSORS.full_name}/ModelStreamInfer"

data_plane: Literal["engine", "python"] = "python"
"""What `serving` serves on; see the fixture of the same name."""


class Pricing:
    """Answers with an empty response, or does `act`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Message, Call]] = []
        self.act: Callable[[], Awaitable[Any]] | None = None
        self.cancelled = 0
        self.entered = asyncio.Event()

    async def PredictPrice(self, request: v1.PredictPriceRequest, call: Call) -> v1.PredictPriceResponse:  # noqa: N802
        self.calls.append((request, call))
        self.entered.set()
        if self.act is not None:
            try:
                await self.act()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return v1.PredictPriceResponse()


class Tensors:
    """Its stream answers each request with its id; one called `boom` raises. Everything else does not answer."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda request, call: None

    async def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[pb.ModelInferRequest], call: Call
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        try:
            async for request in requests:
                if request.id == "boom":
                    raise ZeroDivisionError("secret")
                yield pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse(id=request.id))
        finally:
            self.ended.append("ended")


class Toy:
    """The server and a client."""

    def __init__(self, listening: Listening, channel: grpc.aio.Channel, instruments: Instruments) -> None:
        self.listening = listening
        self.channel = channel
        self.instruments = instruments

    def call(self, raw: bytes = b"", method: str = METHOD, **options: Any) -> Any:
        """Begin a unary call with the bytes *raw*."""
        return self.channel.unary_unary(f"/{method}")(raw, **options)

    def stream(self) -> Any:
        """Begin a stream."""
        return self.channel.stream_stream(f"/{STREAM}")()

    def ended(self, method: str = METHOD) -> dict[str, int]:
        """Return how many calls ended with which code."""
        (family,) = [one for one in self.instruments.families() if one.name == "rpc.server.call.duration"]
        points = {labels[1]: sum(value.counts) for labels, value in family.points if _is(labels, method, value)}
        return {str(code): count for code, count in points.items()}


def _is(labels: tuple[str | int, ...], method: str, value: int | Buckets) -> bool:
    return labels[0] == method and isinstance(value, Buckets)


@contextlib.asynccontextmanager
async def serving(
    pricing: Pricing, tensors: Tensors | None = None, grace_s: float = 0.0, spans: Spans | None = None, **limits: Any
) -> AsyncIterator[Toy]:
    """Serve on a free port of loopback."""
    instruments = Instruments()
    services = {PRICING: pricing, TENSORS: tensors or Tensors()}
    bounds = LimitsConfig(**limits)
    server = listening("127.0.0.1:0", services, instruments, spans or Spans(), bounds, grace_s, data_plane)
    async with server as started, grpc.aio.insecure_channel(started.address) as channel:
        yield Toy(started, channel, instruments)
