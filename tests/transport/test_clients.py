"""Real clients, of gRPC's own, against both of what carries calls: they should see no difference."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
import pytest

from tests.transport.fakes import Behaviour, echo, failing
from tests.transport.serving import MIB, PATIENCE_S, Served, both, failure, served, soon, unary
from turnout_server.transport.call import Call
from turnout_server.transport.grpcio import GrpcioTransport


@pytest.fixture(params=["engine", "grpcio"])
def carrier(request: pytest.FixtureRequest) -> str:
    """What carries calls; see `serving.CARRIERS`."""
    if request.param == "engine":
        pytest.importorskip("turnout_engine")
    return str(request.param)


@pytest.fixture
async def server(carrier: str, behaviour: Behaviour) -> AsyncIterator[Served]:
    async with served(carrier, behaviour) as one:
        yield one


# ---------------------------------------------------------------- every kind of call


@pytest.mark.parametrize("method", ["Echo", "EchoInTask"])
async def test_a_unary_call(server: Served, method: str) -> None:
    channel = server.channel()
    for message in (b"", b"x", b"y" * 100_000):
        assert await unary(channel, method)(message) == message


async def test_a_stream_of_answers(server: Served) -> None:
    call = server.channel().unary_stream("/test.Fake/Count")(b"x" * 100)
    assert [answer async for answer in call] == [b"x" * 100] * 100
    assert await call.code() is grpc.StatusCode.OK


async def test_a_conversation(server: Served) -> None:
    call = both(server.channel())()
    for number in range(50):
        await call.write(b"%d" % number)
        assert await call.read() == b"%d" % number
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_client_that_is_not_asynchronous(server: Served) -> None:
    def ask() -> list[Any]:
        with grpc.insecure_channel(server.address) as channel:
            return [
                channel.unary_unary("/test.Fake/Echo")(b"a"),
                list(channel.unary_stream("/test.Fake/Count")(b"ab")),
                list(channel.stream_stream("/test.Fake/EchoEach")(iter([b"c", b"d"]))),
            ]

    assert await asyncio.to_thread(ask) == [b"a", [b"ab", b"ab"], [b"c", b"d"]]


async def test_a_client_with_several_addresses(server: Served) -> None:
    """It calls the server by all of them, which is no name of a host."""
    async with grpc.aio.insecure_channel(f"ipv4:{server.address},{server.address}") as channel:
        assert [await unary(channel)(b"%d" % number) for number in range(3)] == [b"0", b"1", b"2"]


async def test_large_messages_go_both_ways(server: Served) -> None:
    message = bytes(range(256)) * (60 * MIB // 256)
    channel = server.channel()
    assert await unary(channel)(message) == message
    call = both(channel)()
    await call.write(message)
    assert await call.read() == message
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_large_messages_at_once_do_not_stop_each_other_or_small_ones(server: Served) -> None:
    channel = server.channel()
    message = b"x" * (20 * MIB)
    large = [unary(channel)(message) for _ in range(8)]
    assert await unary(channel)(b"small") == b"small"
    assert [len(await call) for call in large] == [len(message)] * 8


async def test_too_large_a_message_is_refused_and_the_channel_lives_on(carrier: str, behaviour: Behaviour) -> None:
    async with served(carrier, behaviour, max_message_bytes=100_000) as server:
        channel = server.channel()
        assert len(await unary(channel)(b"x" * 100_000)) == 100_000
        error = await failure(unary(channel)(b"x" * 3 * MIB))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "vs. 100000" in (error.details() or "")
        call = both(channel)()
        await call.write(b"a")
        assert await call.read() == b"a"
        await call.write(b"x" * 3 * MIB)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await unary(channel)(b"b") == b"b"


@pytest.mark.parametrize("how", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests(server: Served, how: grpc.Compression) -> None:
    channel = server.channel(compression=how)
    message = b"again and again " * 10_000
    assert await unary(channel)(message) == message
    assert await both(channel)(iter([message, b"x"])).read() == message


async def test_metadata_arrives_as_text_and_leaves_as_both(carrier: str) -> None:
    behaviour = Behaviour()

    async def act(raw: bytes, call: Call) -> bytes:
        raise failing(grpc.StatusCode.ABORTED, "wörd 100%", (("x-text", "t"), ("x-bin", bytes(range(256)))))

    method = behaviour.unary("Do", act)
    async with served(carrier, behaviour) as server:
        metadata = (("x-unit", "one"), ("x-data-bin", bytes(range(256))), ("x-unit", "two"))
        error = await failure(unary(server.channel(), "Do")(b"", metadata=metadata))
    assert error.details() == "wörd 100%"
    trailers = dict(error.trailing_metadata())
    assert (trailers["x-text"], trailers["x-bin"]) == ("t", bytes(range(256)))
    seen = method.calls[0].metadata
    assert seen["x-unit"] == "two"
    assert set(seen) == {"x-unit", "user-agent"}


async def test_metadata_that_is_too_large_fails_its_call_and_no_other(server: Served) -> None:
    channel = server.channel()
    conversation = both(channel)()
    await conversation.write(b"a")
    assert await conversation.read() == b"a"
    for size in (25_000, 60_000, 500_000):
        error = await failure(unary(channel)(b"", metadata=(("x-large", "x" * size),)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await conversation.write(b"b")
    assert await conversation.read() == b"b"
    assert await unary(channel)(b"c") == b"c"


async def test_sixteen_kilobytes_of_metadata_are_taken(server: Served) -> None:
    large = (("x-large", "x" * 15_500),)
    for _ in range(20):
        assert await unary(server.channel())(b"x", metadata=large) == b"x"
    assert len(server.behaviour.methods["test.Fake/Echo"].calls[0].metadata["x-large"]) == 15_500


async def test_an_unknown_method_is_unimplemented(server: Served) -> None:
    assert (await failure(unary(server.channel(), "Nothing")(b""))).code() is grpc.StatusCode.UNIMPLEMENTED


# ---------------------------------------------------------------- how calls end early


async def test_a_deadline_reaches_the_handler_and_ends_it(server: Served) -> None:
    channel = server.channel()
    assert await unary(channel)(b"connected") == b"connected"
    before = time.monotonic()
    error = await failure(unary(channel, "Forever")(b"", timeout=0.5))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    method = server.behaviour.methods["test.Fake/Forever"]
    deadline = method.calls[0].deadline
    assert deadline is not None
    assert before < deadline <= time.monotonic() + 0.5
    await method.all_cancelled.wait()


async def test_a_deadline_that_is_not_reached_is_no_matter(server: Served) -> None:
    channel = server.channel()
    answers = [unary(channel)(b"%d" % number, timeout=50 + number) for number in range(300)]
    assert await asyncio.gather(*answers) == [b"%d" % number for number in range(300)]


async def test_a_call_that_is_cancelled_before_it_was_sent_leaves_no_trace(server: Served) -> None:
    channel = server.channel()
    call = unary(channel, "Forever")(b"")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await unary(channel)(b"x") == b"x"
    assert not server.behaviour.methods["test.Fake/Forever"].calls


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_a_call_that_is_cancelled_ends_its_handler(server: Served, kind: str) -> None:
    channel = server.channel()
    call: Any
    if kind == "unary":
        method = server.behaviour.methods["test.Fake/Forever"]
        call = unary(channel, "Forever")(b"")
    else:
        method = server.behaviour.methods["test.Fake/EchoEach"]
        call = both(channel)()
        await call.write(b"a")
        assert await call.read() == b"a"
    await method.begun.wait()
    call.cancel()
    await method.all_cancelled.wait()
    # grpcio may tell of the end of a client's messages first: then a handler that waits for one ends by itself.
    if kind == "unary" or not isinstance(server.transport, GrpcioTransport):
        assert method.cancelled == 1
    assert await unary(channel)(b"x") == b"x"


async def test_a_channel_that_is_closed_ends_all_of_its_handlers(server: Served) -> None:
    method = server.behaviour.methods["test.Fake/Forever"]
    channel = server.channel()
    calls = [unary(channel, "Forever")(b"") for _ in range(20)]
    other = server.channel()
    assert await unary(other)(b"x") == b"x"
    await soon(lambda: len(method.calls) == 20)
    await channel.close()
    await method.all_cancelled.wait()
    assert method.cancelled == 20
    assert await unary(other)(b"x") == b"x"
    assert all(call.done() for call in calls)


# ---------------------------------------------------------------- many


async def test_two_hundred_calls_at_once_on_one_connection(server: Served) -> None:
    channel = server.channel()
    messages = [b"%d" % number * (number % 50 * 1_000 + 1) for number in range(200)]
    calls = [unary(channel, "Echo" if number % 2 else "EchoInTask")(m) for number, m in enumerate(messages)]
    assert await asyncio.gather(*calls) == messages


async def test_a_thousand_calls_at_once_are_all_answered(server: Served) -> None:
    channel = server.channel()
    assert await asyncio.gather(*(unary(channel)(b"%d" % number) for number in range(1_000))) == [
        b"%d" % number for number in range(1_000)
    ]


async def test_many_connections(server: Served) -> None:
    channels = [server.channel() for _ in range(50)]
    assert await asyncio.gather(*(unary(channel)(b"x") for channel in channels)) == [b"x"] * 50


async def test_a_client_that_does_not_read_its_answers_holds_up_nobody_else(carrier: str) -> None:
    made = []

    async def endless(raw: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        while True:
            made.append(True)
            yield b"x" * MIB

    behaviour = Behaviour()
    method = behaviour.server_stream("Endless", endless)
    behaviour.unary("Echo", echo)
    async with served(carrier, behaviour) as server, asyncio.timeout(PATIENCE_S):
        channel = server.channel()
        call = channel.unary_stream("/test.Fake/Endless")(b"")
        await call.read()
        assert await unary(server.channel())(b"x") == b"x"
        assert await unary(channel)(b"x") == b"x"
        await soon(lambda: len(made) > 1)
        seen = -1
        while seen != len(made):  # until it is held up
            seen = len(made)
            await asyncio.sleep(0.05)
        assert len(made) < 200
        call.cancel()
        await method.all_cancelled.wait()
