"""How a server begins and ends."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.rpc.toy import METHOD, Pricing, serving
from turnout_server.config import LimitsConfig
from turnout_server.gateway.readiness import Standing
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.instruments import Instruments
from turnout_server.rpc.server import listening
from turnout_server.vocabulary.errors import ConfigurationError

HEALTH = "grpc.health.v1.Health"
SERVES = Standing("")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


pytestmark = pytest.mark.usefixtures("data_plane")


@pytest.fixture
async def pricing() -> Pricing:
    return Pricing()


def status_in(raw: Any) -> int:
    return health_pb2.HealthCheckResponse.FromString(raw).status


async def test_health_answers_for_the_server_and_each_service(pricing: Pricing) -> None:
    async with serving(pricing) as toy:
        toy.listening.health.show(SERVES)
        for service in ("", "turnout.v1.PricingService", "inference.GRPCInferenceService"):
            request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
            assert status_in(await toy.call(request, f"{HEALTH}/Check")) == SERVING


async def test_health_answers_while_the_server_is_full_and_while_it_drains(pricing: Pricing) -> None:
    async with serving(pricing, concurrent_calls=1) as toy:
        pricing.act = asyncio.Event().wait
        busy = toy.call()
        await pricing.entered.wait()
        toy.listening.health.show(SERVES)
        assert status_in(await toy.call(b"", f"{HEALTH}/Check")) == SERVING
        toy.listening.health.end()
        toy.listening.gate.close()
        assert status_in(await toy.call(b"", f"{HEALTH}/Check")) == NOT_SERVING
        busy.cancel()


async def test_watchers_are_bounded_and_do_not_take_the_place_of_calls(pricing: Pricing) -> None:
    async with serving(pricing, concurrent_calls=3, watches=1) as toy:
        watch = toy.channel.unary_stream(f"/{HEALTH}/Watch")
        first = watch(b"")
        assert status_in(await first.read()) == NOT_SERVING
        assert await watch(b"").code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert status_in(await toy.call(b"", f"{HEALTH}/Check")) == NOT_SERVING
        await toy.call()
        first.cancel()


async def test_those_who_watch_never_keep_a_check_from_its_answer(pricing: Pricing) -> None:
    async with serving(pricing, concurrent_calls=1) as toy:
        first = toy.channel.unary_stream(f"/{HEALTH}/Watch")(b"")
        assert status_in(await first.read()) == NOT_SERVING
        assert status_in(await toy.call(b"", f"{HEALTH}/Check")) == NOT_SERVING
        first.cancel()


async def test_one_connection_may_have_a_share_of_all_calls_and_never_all(pricing: Pricing) -> None:
    async with serving(pricing, concurrent_calls=4) as toy:
        pricing.act = asyncio.Event().wait
        busy = [toy.call() for _ in range(3)]
        await pricing.entered.wait()
        assert await toy.call().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        pricing.act = None
        other = grpc.aio.insecure_channel(toy.listening.address, [("grpc.use_local_subchannel_pool", 1)])
        async with other:
            await other.unary_unary(f"/{METHOD}")(b"")
        for call in busy:
            call.cancel()


async def test_a_stream_whose_client_says_nothing_for_too_long_is_ended(pricing: Pricing) -> None:
    async with serving(pricing, stream_silence_s=0.05) as toy:
        silent = toy.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")()
        assert await silent.code() is grpc.StatusCode.UNAVAILABLE
        assert await silent.details() == "the stream was silent for too long"
        refusals = {family.prometheus: dict(family.points) for family in toy.instruments.families()}
        assert refusals["turnout_transport_refusals"]["silent",] == 1


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_every_service(pricing: Pricing, version: str) -> None:
    async with serving(pricing) as toy:
        stream = toy.channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")()
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())
        raw = await stream.read()
        await stream.done_writing()
        listed = reflection_pb2.ServerReflectionResponse.FromString(raw).list_services_response.service
        names = {service.name for service in listed}
        assert {"turnout.v1.PricingService", "inference.GRPCInferenceService", HEALTH} <= names
        assert await stream.code() is grpc.StatusCode.OK


async def test_a_message_over_the_limit_is_refused_and_the_next_one_is_answered(pricing: Pricing) -> None:
    async with serving(pricing, max_message_bytes=1000) as toy:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await toy.call(b"\0" * 1001)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await toy.call()


async def test_an_unknown_method_is_unimplemented(pricing: Pricing) -> None:
    async with serving(pricing) as toy:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await toy.call(b"", "turnout.v1.PricingService/Nothing")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_port_in_use_is_one_clear_line(pricing: Pricing) -> None:
    async with serving(pricing) as toy:
        again = listening(toy.listening.address, {}, Instruments(), Spans(), LimitsConfig(), 0.0)
        with pytest.raises(ConfigurationError, match="is the port in use"):
            await again.__aenter__()


async def test_a_drain_lets_calls_finish_refuses_new_ones_and_tells_watchers(pricing: Pricing) -> None:
    finish = asyncio.Event()
    pricing.act = finish.wait
    server = serving(pricing, grace_s=1e6)
    toy = await server.__aenter__()
    # The server ends before its client does, unlike in `serving`'s own order.
    channel = grpc.aio.insecure_channel(toy.listening.address)
    toy.listening.health.show(SERVES)
    watch = channel.unary_stream(f"/{HEALTH}/Watch")(b"")
    assert status_in(await watch.read()) == SERVING
    in_progress = channel.unary_unary(f"/{METHOD}")(b"")
    await pricing.entered.wait()
    ending = asyncio.create_task(server.__aexit__(None, None, None))
    assert status_in(await watch.read()) == NOT_SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{METHOD}")(b"")
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "the server is shutting down",
    )
    assert not ending.done()
    finish.set()
    assert await in_progress == b""
    await ending
    await channel.close()


async def test_what_is_left_after_the_grace_period_is_cancelled(pricing: Pricing) -> None:
    pricing.act = asyncio.Event().wait
    server = serving(pricing, grace_s=0.0)
    toy = await server.__aenter__()
    channel = grpc.aio.insecure_channel(toy.listening.address)
    call = channel.unary_unary(f"/{METHOD}")(b"")
    await pricing.entered.wait()
    await server.__aexit__(None, None, None)
    assert await call.code() is not grpc.StatusCode.OK
    assert pricing.cancelled == 1
    assert toy.listening.gate.inside == 0
    await channel.close()


async def test_who_is_told_twice_to_end_does_not_wait_for_calls_in_progress(pricing: Pricing) -> None:
    pricing.act = asyncio.Event().wait
    server = serving(pricing, grace_s=1e6)
    toy = await server.__aenter__()
    channel = grpc.aio.insecure_channel(toy.listening.address)
    call = channel.unary_unary(f"/{METHOD}")(b"")
    await pricing.entered.wait()
    ending = asyncio.ensure_future(server.__aexit__(None, None, None))
    await toy.listening.gate.closing.wait()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert pricing.cancelled == 1
    assert await call.code() is not grpc.StatusCode.OK
    await channel.close()
