"""The connection by grpc.aio, against a server in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from turnout_server.load import CallError, GrpcConnection, Plan, ask, run

METHOD = "/test.Echo/Say"


class Servicer(grpc.GenericRpcHandler):
    """Answers a request with itself; some words are orders."""

    def __init__(self) -> None:
        self.calls = 0
        self.peers: set[str] = set()
        self.metadata: dict[str, str] = {}

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self.say) if details.method == METHOD else None

    async def say(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        self.peers.add(context.peer())
        self.metadata = dict(context.invocation_metadata())
        if request == b"fail":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        if request == b"hang":
            await asyncio.Event().wait()
        return request


@pytest.fixture
async def served() -> AsyncIterator[tuple[str, Servicer]]:
    servicer = Servicer()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((servicer,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}", servicer
    await server.stop(None)


def plan(target: str, **more: Any) -> Plan:
    return Plan(**({"target": target, "method": METHOD, "requests": (b"hello",)} | more))


async def test_bytes_go_out_and_come_back_as_they_are(served: tuple[str, Servicer]) -> None:
    connection = GrpcConnection(plan(served[0], metadata=(("x-qa", "on"),)))
    await connection.open()
    assert await ask(connection, b"\x00\xffbytes") == b"\x00\xffbytes"
    assert await ask(connection, b"") == b""
    assert served[1].metadata["x-qa"] == "on"
    await connection.close()


async def test_an_error_carries_its_code_and_message(served: tuple[str, Servicer]) -> None:
    connection = GrpcConnection(plan(served[0]))
    with pytest.raises(CallError, match="no such thing") as raised:
        await ask(connection, b"fail")
    assert raised.value.code == "NOT_FOUND"
    await connection.close()


async def test_a_call_has_the_plans_deadline(served: tuple[str, Servicer]) -> None:
    connection = GrpcConnection(plan(served[0], timeout_s=0.05))
    with pytest.raises(CallError) as raised:
        await ask(connection, b"hang")
    assert raised.value.code == "DEADLINE_EXCEEDED"
    await connection.close()


async def test_done_is_told_once_and_never_from_within_the_call(served: tuple[str, Servicer]) -> None:
    """Not even when it makes further calls, of which there may be several."""
    connection = GrpcConnection(plan(served[0]))
    told: list[bytes | None] = []
    inside = False
    everything = asyncio.Event()

    def send(body: bytes) -> None:
        nonlocal inside
        inside = True
        connection.call(body, done)
        inside = False

    def done(code: str, payload: bytes | None, started: float, ended: float) -> None:
        assert not inside
        assert started <= ended
        told.append(payload)
        if payload == b"first":
            for number in range(3):
                send(b"%d" % number)
        if len(told) == 4:
            everything.set()

    send(b"first")
    async with asyncio.timeout(30):
        await everything.wait()
    assert sorted(told[1:]) == [b"0", b"1", b"2"]
    await connection.close()


async def test_closing_drops_what_is_on_its_way(served: tuple[str, Servicer]) -> None:
    connection = GrpcConnection(plan(served[0]))
    told: list[str] = []
    connection.call(b"hang", lambda code, payload, started, ended: told.append(code))
    await ask(connection, b"hello")
    await connection.close()
    assert told == []


async def test_a_plan_has_as_many_connections_as_it_says(served: tuple[str, Servicer]) -> None:
    target, servicer = served
    result = await run(plan(target, connections=3, concurrency=6, seconds=0.05, warmup_s=0.0))
    assert len(servicer.peers) == 3
    assert (result.calls, result.failed, result.unanswered) == (servicer.calls, 0, 0)
    assert not result.served
