"""What health says, and to whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2 as pb

from tests.rpc.inference import FakeCall
from turnout_server.gateway.readiness import STARTING, STOPPING, Standing
from turnout_server.rpc.health import Health, ServiceUnknownError
from turnout_server.rpc.standard import HEALTH

SERVES, LOADS = Standing(""), Standing("loads")
SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING


async def ask(health: Health, service: str = "") -> Any:
    return await health.Check(pb.HealthCheckRequest(service=service), FakeCall())


async def check(health: Health, service: str = "") -> int:
    status: int = (await ask(health, service)).status
    return status


async def why(health: Health, service: str = "") -> str:
    text: str = (await ask(health, service)).why
    return text


async def test_nothing_serves_until_it_is_said_to() -> None:
    health = Health(["a.A"])
    assert [await check(health), await check(health, "a.A")] == [NOT_SERVING, NOT_SERVING]
    health.show(SERVES)
    assert [await check(health), await check(health, "a.A")] == [SERVING, SERVING]


async def test_all_are_listed_with_their_statuses() -> None:
    health = Health(["a.A"])
    request = GetMessageClass(HEALTH.methods_by_name["List"].input_type)()
    for standing, status in ((LOADS, NOT_SERVING), (SERVES, SERVING)):
        health.show(standing)
        answer: Any = await health.List(request, FakeCall())
        assert {name: (each.status, each.why) for name, each in answer.statuses.items()} == dict.fromkeys(
            ("", "a.A"), (status, standing.server)
        )


async def test_each_route_has_a_health_of_its_own_with_the_reason() -> None:
    health = Health(["a.A"])
    health.show(Standing("", {"cost": "", "price": "version 2 is FAILED"}))
    assert [await check(health), await check(health, "route/cost"), await check(health, "route/price")] == [
        SERVING, SERVING, NOT_SERVING,
    ]  # fmt: skip
    assert await why(health, "route/price") == "version 2 is FAILED"
    for unknown in ("route/gone", "cost"):
        with pytest.raises(ServiceUnknownError):
            await check(health, unknown)


async def test_while_the_table_is_missing_any_route_may_be_one() -> None:
    health = Health([])
    health.show(Standing("no table", {}, "no table"))
    assert (await check(health, "route/any"), await why(health, "route/any")) == (NOT_SERVING, "no table")
    watcher = health.Watch(pb.HealthCheckRequest(service="route/any"), FakeCall())
    assert (await anext(watcher)).status == NOT_SERVING  # type: ignore[attr-defined]
    health.show(Standing(""))
    assert (await anext(watcher)).status == pb.HealthCheckResponse.SERVICE_UNKNOWN  # type: ignore[attr-defined]


async def test_why_is_a_field_that_others_pass_over() -> None:
    health = Health([])
    raw = (await ask(health)).SerializeToString()
    assert raw == b"\x08\x02\xc2\x3e" + bytes([len(STARTING)]) + STARTING.encode()
    assert pb.HealthCheckResponse.FromString(raw).status == NOT_SERVING
    health.show(SERVES)
    assert (await ask(health)).SerializeToString() == b"\x08\x01"


async def test_what_ends_serves_no_more_whatever_is_said() -> None:
    health = Health(["a.A"])
    health.show(Standing("", {"cost": ""}))
    health.end()
    health.show(Standing("", {"cost": ""}))
    for service in ("", "a.A", "route/cost"):
        assert (await check(health, service), await why(health, service)) == (NOT_SERVING, STOPPING)


async def test_an_unknown_service_is_not_found() -> None:
    with pytest.raises(ServiceUnknownError):
        await check(Health([]), "z" * 10_000)


async def test_every_watcher_hears_of_every_change_also_when_another_has_left() -> None:
    health = Health(["a.A"])
    request = pb.HealthCheckRequest(service="a.A")
    watchers = [health.Watch(request, FakeCall()) for _ in range(3)]
    assert [(await anext(watcher)).status for watcher in watchers] == [NOT_SERVING] * 3
    await watchers.pop().aclose()  # type: ignore[attr-defined]
    waiting = [asyncio.ensure_future(anext(watcher)) for watcher in watchers]
    await asyncio.sleep(0)
    health.show(SERVES)
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [SERVING] * 2


async def test_a_watcher_of_an_unknown_service_is_told_so_and_goes_on_watching() -> None:
    health = Health([])
    watcher = health.Watch(pb.HealthCheckRequest(service="z"), FakeCall())
    assert (await anext(watcher)).status == pb.HealthCheckResponse.SERVICE_UNKNOWN
    waiting = asyncio.ensure_future(anext(watcher))
    health.show(SERVES)
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
