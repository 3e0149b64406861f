"""What every call goes through, on a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.rpc.toy import METHOD, STREAM, Pricing, Tensors, serving
from turnout.v1 import pricing_service_pb2 as v1
from turnout.v1.features_pb2 import FeatureColumn
from turnout_server.rpc import door
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.errors import ModelFailedError, QueueFullError, RouteNotFoundError

GARBAGE = b"\xff\xff\xff"


class Log:
    """Keeps what is logged as errors."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(door, "_log", log)
    return log


pytestmark = pytest.mark.usefixtures("data_plane")


@pytest.fixture
async def pricing() -> Pricing:
    return Pricing()


def raising(error: Exception) -> Any:
    async def act() -> None:
        raise error

    return act


async def forever() -> None:
    await asyncio.Event().wait()


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def details_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    trailers = dict(error.trailing_metadata() or ())
    return status_pb2.Status.FromString(trailers["grpc-status-details-bin"])  # type: ignore[arg-type]


def reason_of(error: grpc.aio.AioRpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    assert details_of(error).details[0].Unpack(info)
    return info.reason


async def eventually(toy: Any, method: str, code: str) -> None:
    """Wait until a call has ended with *code* on the server's side too."""
    while code not in toy.ended(method):
        await asyncio.sleep(0)


async def test_a_call_is_answered_and_counted(pricing: Pricing) -> None:
    async with serving(pricing) as toy:
        raw = await toy.call(v1.PredictPriceRequest(features=[FeatureColumn(name="carat")]).SerializeToString())
        assert v1.PredictPriceResponse.FromString(raw) == v1.PredictPriceResponse()
        ((request, _),) = pricing.calls
        assert request == v1.PredictPriceRequest(features=[FeatureColumn(name="carat")])
        await eventually(toy, METHOD, "OK")
        assert toy.instruments.in_flight == toy.listening.gate.inside == 0


async def test_malformed_bytes_are_an_invalid_argument(pricing: Pricing, log: Log) -> None:
    async with serving(pricing) as toy:
        error = await failure(toy.call(GARBAGE))
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
        assert error.details() == "the message is not a valid turnout.v1.PredictPriceRequest"
        assert pricing.calls == []
        assert log.lines == []


async def test_an_unexpected_error_is_internal_without_its_text_and_one_line_in_the_log(
    pricing: Pricing, log: Log
) -> None:
    cause = ZeroDivisionError("secret")
    pricing.act = raising(cause)
    async with serving(pricing) as toy:
        error = await failure(toy.call())
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in repr(error)
        assert log.lines == [{"event": "call failed", "method": METHOD, "exc_info": cause}]
        assert toy.ended() == {"INTERNAL": 1}


async def test_a_model_that_fails_is_logged_too_and_what_a_caller_did_wrong_is_not(pricing: Pricing, log: Log) -> None:
    async with serving(pricing) as toy:
        pricing.act = raising(ModelFailedError("price", 3))
        assert reason_of(await failure(toy.call())) == "MODEL_FAILED"
        assert [line["reason"] for line in log.lines] == ["MODEL_FAILED"]
        pricing.act = raising(RouteNotFoundError("nothing"))
        assert reason_of(await failure(toy.call())) == "ROUTE_NOT_FOUND"
        assert len(log.lines) == 1


async def test_an_error_carries_code_reason_and_when_to_retry(pricing: Pricing) -> None:
    pricing.act = raising(QueueFullError("price", 3, 0.25))
    async with serving(pricing) as toy:
        error = await failure(toy.call())
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        retry = error_details_pb2.RetryInfo()
        assert details_of(error).details[1].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == 250
        assert dict(error.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "250"


async def test_an_error_about_an_absurd_name_still_arrives(pricing: Pricing) -> None:
    pricing.act = raising(RouteNotFoundError("\N{GRINNING FACE}" * 10_000))
    async with serving(pricing) as toy:
        assert (await failure(toy.call())).code() is grpc.StatusCode.NOT_FOUND


async def test_metadata_is_text_with_the_last_of_several_values_and_nothing_binary(pricing: Pricing) -> None:
    metadata = (("x-qa", "first"), ("x-qa", "on"), ("x-raw-bin", b"\xff\x00"), ("x-turnout-unit", "u1"))
    async with serving(pricing) as toy:
        await toy.call(metadata=metadata)
        ((_, call),) = pricing.calls
        assert call.metadata["x-qa"] == "on"
        assert call.metadata["x-turnout-unit"] == "u1"
        assert "x-raw-bin" not in call.metadata


async def test_a_call_knows_its_deadline_or_that_there_is_none(pricing: Pricing) -> None:
    deadlines: list[float | None] = []

    async def look() -> None:
        deadlines.append(pricing.calls[-1][1].deadline)

    pricing.act = look
    async with serving(pricing) as toy:
        await toy.call()
        await toy.call(timeout=1e6)
        assert deadlines[0] is None
        assert deadlines[1] is not None


async def test_a_caller_who_goes_cancels_the_handler_and_is_counted(pricing: Pricing) -> None:
    pricing.act = forever
    async with serving(pricing) as toy:
        call = toy.call()
        await pricing.entered.wait()
        call.cancel()
        await eventually(toy, METHOD, "CANCELLED")
        assert pricing.cancelled == 1
        assert toy.instruments.in_flight == toy.listening.gate.inside == 0


async def test_a_call_whose_deadline_passes_is_counted_as_that(pricing: Pricing) -> None:
    async with serving(pricing) as toy:
        await toy.call()  # connecting is not what the deadline is for
        pricing.act = forever
        error = await failure(toy.call(timeout=0.1))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(toy, METHOD, "DEADLINE_EXCEEDED")


async def test_more_calls_than_the_limit_are_refused_with_a_retry_delay(pricing: Pricing) -> None:
    pricing.act = forever
    async with serving(pricing, concurrent_calls=1) as toy:
        first = toy.call()
        await pricing.entered.wait()
        error = await failure(toy.call())
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert dict(error.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "500"
        first.cancel()


async def test_a_message_beyond_the_limit_is_refused_in_the_words_that_clients_know(pricing: Pricing) -> None:
    async with serving(pricing, max_message_bytes=100) as toy:
        error = await failure(toy.call(b"x" * 200))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in (error.details() or "")
    assert not pricing.calls


# ---------------------------------------------------------------- streams


def message(name: str) -> bytes:
    return pb.ModelInferRequest(id=name).SerializeToString()


async def answer(stream: Any) -> str:
    raw = await stream.read()
    assert isinstance(raw, bytes)
    return pb.ModelStreamInferResponse.FromString(raw).infer_response.id


async def test_a_stream_is_answered_until_the_client_is_done(pricing: Pricing) -> None:
    tensors = Tensors()
    async with serving(pricing, tensors) as toy:
        stream = toy.stream()
        for name in ("a", "b"):
            await stream.write(message(name))
            assert await answer(stream) == name
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK
        assert tensors.ended == ["ended"]
        assert toy.listening.gate.inside == 0


@pytest.mark.parametrize(
    ("raw", "code"), [(GARBAGE, grpc.StatusCode.INVALID_ARGUMENT), (message("boom"), grpc.StatusCode.INTERNAL)]
)
async def test_a_stream_that_fails_ends_with_a_status_and_lets_go(
    pricing: Pricing, log: Log, raw: bytes, code: grpc.StatusCode
) -> None:
    tensors = Tensors()
    async with serving(pricing, tensors) as toy:
        stream = toy.stream()
        await stream.write(message("a"))
        assert await answer(stream) == "a"
        await stream.write(raw)
        assert await stream.code() is code
        assert "secret" not in await stream.details()
        assert tensors.ended == ["ended"]
        assert toy.listening.gate.inside == 0


async def test_a_stream_whose_client_goes_is_let_go(pricing: Pricing) -> None:
    tensors = Tensors()
    async with serving(pricing, tensors) as toy:
        stream = toy.stream()
        await stream.write(message("a"))
        assert await answer(stream) == "a"
        stream.cancel()
        await eventually(toy, STREAM, "CANCELLED")
        assert toy.listening.gate.inside == 0
        while not tensors.ended:
            await asyncio.sleep(0)


async def test_an_idle_stream_is_ended_politely_when_the_server_shuts_down(pricing: Pricing) -> None:
    async with serving(pricing) as toy:
        stream = toy.stream()
        await stream.write(message("a"))
        assert await answer(stream) == "a"
        toy.listening.gate.close()
        assert await stream.code() is grpc.StatusCode.UNAVAILABLE
        assert toy.ended(STREAM) == {"UNAVAILABLE": 1}
