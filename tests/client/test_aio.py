"""What the asynchronous client alone does; the rest is in `test_client.py`, for both."""

from __future__ import annotations

import asyncio
import inspect

import pytest

import turnout
from tests.client.fake import FakeGateway


async def test_tasks_share_a_client(gateway: FakeGateway) -> None:
    async with turnout.AsyncClient(gateway.target) as client:
        found = await asyncio.gather(*(client.recommend("next", [], k=k) for k in range(1, 21)))
    assert [len(one) for one in found] == list(range(1, 21))


async def test_cancelling_a_task_cancels_its_call(gateway: FakeGateway) -> None:
    gateway.open.clear()
    async with turnout.AsyncClient(gateway.target) as client:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.model("price"), 0.05)
        gateway.open.set()
        assert (await client.model("price")).name == "price"


def test_an_async_client_can_be_made_before_its_loop(gateway: FakeGateway) -> None:
    client = turnout.AsyncClient(gateway.target)

    async def use() -> str:
        async with client:
            return await client.health()

    assert asyncio.run(use()) == "SERVING"


def test_an_unused_async_client_closes() -> None:
    asyncio.run(turnout.AsyncClient("127.0.0.1:1").close())


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(member))
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") or name == "__init__"
        }

    assert public(turnout.Client) == public(turnout.AsyncClient)
