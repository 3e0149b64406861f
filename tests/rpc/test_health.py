"""What health says, and to whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2 as pb

from tests.rpc.inference import FakeCall
from turnout_server.rpc.health import Health, ServiceUnknownError
from turnout_server.rpc.standard import HEALTH

SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING


async def check(health: Health, service: str = "") -> int:
    return (await health.Check(pb.HealthCheckRequest(service=service), FakeCall())).status


async def test_nothing_serves_until_it_is_said_to() -> None:
    health = Health(["a.A"])
    assert [await check(health), await check(health, "a.A")] == [NOT_SERVING, NOT_SERVING]
    health.set_serving(True)
    assert [await check(health), await check(health, "a.A")] == [SERVING, SERVING]


async def test_all_are_listed_with_their_statuses() -> None:
    health = Health(["a.A"])
    request = GetMessageClass(HEALTH.methods_by_name["List"].input_type)()
    for serving, status in ((False, NOT_SERVING), (True, SERVING)):
        health.set_serving(serving)
        answer: Any = await health.List(request, FakeCall())
        assert {name: each.status for name, each in answer.statuses.items()} == {"": status, "a.A": status}


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
    health.set_serving(True)
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [SERVING] * 2


async def test_a_watcher_of_an_unknown_service_is_told_so_and_goes_on_watching() -> None:
    health = Health([])
    watcher = health.Watch(pb.HealthCheckRequest(service="z"), FakeCall())
    assert (await anext(watcher)).status == pb.HealthCheckResponse.SERVICE_UNKNOWN
    waiting = asyncio.ensure_future(anext(watcher))
    health.set_serving(True)
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
