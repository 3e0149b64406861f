"""The lean connection against grpcio's server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from benchmarks.lean_connection import LeanConnection
from turnout_server.load import CallError, Plan, ask

METHOD = "/test.Service/Do"


class Service(grpc.GenericRpcHandler):
    """Answers with what it got, twice; refuses what begins with `no`."""

    def __init__(self) -> None:
        self.calls = 0
        self.at_once = 0
        self.most_at_once = 0
        self.metadata: dict[str, str | bytes] = {}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(self.do)

    async def do(self, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.metadata = dict(context.invocation_metadata() or ())
        await asyncio.sleep(0)
        self.at_once -= 1
        if body.startswith(b"no"):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full, 100 %")
        if body.startswith(b"never"):
            await asyncio.Event().wait()
        return body + body


@asynccontextmanager
async def serving(**options: int) -> AsyncIterator[tuple[Service, str]]:
    server, service = grpc.aio.server(options=[(f"grpc.{key}", value) for key, value in options.items()]), Service()
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield service, f"127.0.0.1:{port}"
    await server.stop(None)


@asynccontextmanager
async def connected(target: str, **options: object) -> AsyncIterator[LeanConnection]:
    plan = Plan(target=target, requests=(b"x",), method=METHOD, **options)  # type: ignore[arg-type]
    connection = LeanConnection(plan)
    await connection.open()
    yield connection
    await connection.close()


@pytest.mark.parametrize("size", [0, 1, 8_000, 16_000])
async def test_a_call_is_answered(size: int) -> None:
    """What comes back may take several frames."""
    body = bytes(range(250)) * (size // 250) + b"x" * (size % 250)
    async with serving() as (_, target), connected(target) as connection:
        assert await ask(connection, body) == body + body


async def test_many_calls_more_than_the_server_takes_at_once_are_all_answered() -> None:
    """Bodies and answers are more than the windows that a connection begins with."""
    async with serving(max_concurrent_streams=5) as (service, target), connected(target) as connection:
        bodies = [str(number).encode() * 1000 for number in range(300)]
        answers = await asyncio.gather(*(ask(connection, body) for body in bodies))
        assert answers == [body + body for body in bodies]
        assert 1 <= service.most_at_once <= 5


async def test_a_refusal_has_its_code_and_its_message() -> None:
    async with serving() as (_, target), connected(target) as connection:
        with pytest.raises(CallError) as caught:
            await ask(connection, b"no")
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        assert "full, 100" in caught.value.message


async def test_metadata_and_the_deadline_are_sent() -> None:
    async with serving() as (service, target):
        async with connected(target, metadata=(("x-unit", "7"),), timeout_s=60.0) as connection:
            await ask(connection, b"a")
            assert service.metadata["x-unit"] == "7"
        async with connected(target, timeout_s=0.001) as connection:
            with pytest.raises(CallError) as caught:
                await ask(connection, b"never")
            assert caught.value.code in ("DEADLINE_EXCEEDED", "UNAVAILABLE")  # grpcio's server resets the stream


async def test_calls_that_a_lost_connection_leaves_behind_have_failed() -> None:
    async with serving() as (_, target), connected(target) as connection:
        waiting = asyncio.ensure_future(ask(connection, b"never"))
        await ask(connection, b"a")
        connection.connection_lost(None)
        with pytest.raises(CallError, match="lost"):
            await waiting


async def test_who_is_not_there_cannot_be_reached() -> None:
    with pytest.raises(CallError) as caught:
        await LeanConnection(Plan(target="127.0.0.1:1", requests=(b"x",))).open()
    assert caught.value.code == "UNAVAILABLE"


async def test_a_message_that_does_not_fit_a_frame_is_refused_at_once() -> None:
    async with serving() as (_, target), connected(target) as connection:
        with pytest.raises(ValueError, match="does not fit"):
            await ask(connection, b"x" * 20_000)
