"""Who does not speak HTTP/2, or breaks its rules; and what looks odd, and breaks none (RFC 9113, RFC 7541)."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator

import pytest
from h2.errors import ErrorCodes as ErrorCode

from benchmarks import frames
from benchmarks.frames import frame, rst_stream, window_update
from tests.transport import raw
from tests.transport.engine import STREAMS, WINDOW, Engine
from tests.transport.fakes import FakeMethod
from tests.transport.raw import Client, data, headers, literal
from tests.transport.serving import soon
from tests.transport.socket_wire import prefixed
from turnout_server.transport.call import Call

BLOCK = raw.block("/test.Fake/Listen")
TRAILERS = literal(b"x-checksum", b"1")
PING = frame(frames.PING, 0, 0, b"01234567")
PROTOCOL, CANCEL = ErrorCode.PROTOCOL_ERROR, ErrorCode.CANCEL


@pytest.fixture
async def listening(engine: Engine) -> FakeMethod:
    """A method that takes what comes, and answers nothing."""

    async def listen(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        async for _ in requests:
            pass
        await asyncio.get_running_loop().create_future()
        yield b""

    method = engine.behaviour.both_stream("Listen", listen)
    await engine.start()
    return method


@pytest.fixture
async def client(engine: Engine, listening: FakeMethod) -> Client:
    """A client with a call on stream 1, whose body is to come."""
    client = await engine.client(raw.opening() + headers(1, BLOCK))
    await listening.begun.wait()
    return client


# ---------------------------------------------------------------- the beginning


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1\r\n", b"POST /a/b HTTP/1.1\r\nHost: here\r\n", b"HEAD / HTTP/1.0\r\n"]
)
async def test_http1_is_told_what_is_spoken_here(echoing: Engine, line: bytes) -> None:
    client = await echoing.client(line + b"\r\n")
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 505 ")
    head, _, text = answer.partition(b"\r\n\r\n")
    assert b"gRPC" in text
    assert b"Content-Length: %d" % len(text) in head


async def test_garbage_is_told_so_and_hung_up_on(echoing: Engine) -> None:
    draw = random.Random(7)
    for _ in range(30):
        client = await echoing.client(draw.randbytes(draw.randrange(30, 3_000)))
        await client.until(lambda: False)
        assert client.goodbye == PROTOCOL


async def test_a_preface_that_comes_in_bytes_is_one(echoing: Engine) -> None:
    client = await echoing.client()
    for byte in raw.opening() + raw.request(1, b"slowly"):
        await client.say(bytes((byte,)))
        await asyncio.sleep(0)
    await client.until(lambda: client.of(frames.DATA))
    assert client.of(frames.DATA)[0].payload == prefixed(b"slowly")


@pytest.mark.parametrize(
    ("first", "codes"),
    [
        (b"\xff" + random.Random(8).randbytes(5_000), {PROTOCOL, ErrorCode.FRAME_SIZE_ERROR}),
        (PING, {PROTOCOL}),
        (headers(1, BLOCK), {PROTOCOL}),
        (frame(0x77, 0, 0), {PROTOCOL}),
    ],
)
async def test_who_does_not_begin_with_settings_is_hung_up_on(
    echoing: Engine, first: bytes, codes: set[ErrorCode]
) -> None:
    client = await echoing.client(frames.PREFACE, first)
    await client.until(lambda: False)
    assert client.goodbye in codes


async def test_first_of_all_it_says_what_one_client_may_make_it_hold(echoing: Engine) -> None:
    client = await echoing.client(raw.opening())
    await client.until(lambda: client.of(frames.WINDOW_UPDATE))
    (settings, *_) = client.of(frames.SETTINGS)
    said = dict(frames.settings_in(settings.payload))
    assert said[frames.MAX_CONCURRENT_STREAMS] == STREAMS
    assert said[frames.INITIAL_WINDOW_SIZE] == WINDOW
    assert [(one.stream, one.number) for one in client.of(frames.WINDOW_UPDATE)] == [
        (0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
    ]


# ---------------------------------------------------------------- what ends the connection


BROKEN: dict[str, bytes] = {
    "DATA on stream 0": data(0, b"x"),
    "DATA on an idle stream": data(5, b"x"),
    "DATA on a stream of ours": data(2, b"x"),
    "DATA after the end": data(1, end=True) + data(1, b"x"),
    "padding as long as its frame": frame(frames.DATA, frames.PADDED, 1, b"\x05abcd"),
    "HEADERS on stream 0": headers(0, BLOCK),
    "HEADERS on an even stream": headers(2, BLOCK),
    "HEADERS on a stream that was reset": rst_stream(1, CANCEL) + headers(1, BLOCK),
    "HEADERS on a stream that was passed over": headers(9, BLOCK) + headers(7, BLOCK),
    "HEADERS too short for a priority": frame(frames.HEADERS, frames.WITH_PRIORITY | 4, 3, b"prio"),
    "CONTINUATION of nothing": frame(frames.CONTINUATION, 0, 1),
    "CONTINUATION on stream 0": frame(frames.CONTINUATION, frames.END_HEADERS, 0),
    "another frame within a block": frame(frames.HEADERS, 0, 3, BLOCK) + PING,
    "another stream's CONTINUATION": frame(frames.HEADERS, 0, 3, BLOCK) + frame(frames.CONTINUATION, 4, 5),
    "an unknown frame within a block": frame(frames.HEADERS, 0, 3, BLOCK) + frame(0x77, 0, 3),
    "PRIORITY on stream 0": frame(frames.PRIORITY, 0, 0, b"prior"),
    "PRIORITY of 4 bytes": frame(frames.PRIORITY, 0, 9, b"prio"),
    "RST_STREAM on stream 0": rst_stream(0, CANCEL),
    "RST_STREAM on an idle stream": rst_stream(5, CANCEL),
    "RST_STREAM of 3 bytes": frame(frames.RST_STREAM, 0, 1, b"abc"),
    "SETTINGS on a stream": frame(frames.SETTINGS, 0, 1),
    "SETTINGS of 5 bytes": frame(frames.SETTINGS, 0, 0, b"abcde"),
    "SETTINGS that say ACK, and more": frame(frames.SETTINGS, frames.ACK, 0, bytes(6)),
    "SETTINGS acknowledged that nobody sent": frame(frames.SETTINGS, frames.ACK, 0) * 2,
    "a window of 2^31": frames.settings([(frames.INITIAL_WINDOW_SIZE, 2**31)]),
    "frames of 16,383 bytes": frames.settings([(frames.MAX_FRAME_SIZE, 16_383)]),
    "frames of 2^24 bytes": frames.settings([(frames.MAX_FRAME_SIZE, 2**24)]),
    "ENABLE_PUSH of 2": frames.settings([(frames.ENABLE_PUSH, 2)]),
    "PUSH_PROMISE": frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(4)),
    "PING on a stream": frame(frames.PING, 0, 1, bytes(8)),
    "PING of 7 bytes": frame(frames.PING, 0, 0, bytes(7)),
    "GOAWAY on a stream": frame(frames.GOAWAY, 0, 1, bytes(8)),
    "GOAWAY of 7 bytes": frame(frames.GOAWAY, 0, 0, bytes(7)),
    "WINDOW_UPDATE of 3 bytes": frame(frames.WINDOW_UPDATE, 0, 1, bytes(3)),
    "WINDOW_UPDATE on an idle stream": window_update(5, 1),
    "WINDOW_UPDATE by nothing": window_update(0, 0),
    # Header compression.
    "field 0": headers(3, b"\x80"),
    "a field that is in no table": headers(3, b"\xff\x80\x01"),
    "a table of more than we said": headers(3, b"\x3f\xe2\x7f" + BLOCK),
    "a table that changes after a field": headers(3, BLOCK + b"\x20"),
    "Huffman's end of string": headers(3, BLOCK + b"\x00\x01x\x84\xff\xff\xff\xff"),
    "Huffman padded with zeros": headers(3, BLOCK + b"\x00\x01x\x81\x00"),
    "a number without end": headers(3, b"\x00\x7f" + b"\xff" * 20),
    "field 0 in trailers": headers(1, b"\x80", end=True),
    # Fields.
    "a name with a capital": headers(3, BLOCK + literal(b"X-a", b"1")),
    "a name in trailers with a capital": headers(1, literal(b"X-a", b"1"), end=True),
    "an empty name": headers(3, BLOCK + literal(b"", b"1")),
    "a value with a zero": headers(3, BLOCK + literal(b"x", b"\0")),
    "a value with a carriage return": headers(3, BLOCK + literal(b"x", b"a\rb")),
    "a value with a line feed": headers(3, BLOCK + literal(b"x", b"a\nb")),
}
OTHER_CODES = {
    "a window of more than 2^31-1": (window_update(0, frames.MAX_WINDOW), ErrorCode.FLOW_CONTROL_ERROR),
    "a frame of more than a window": (data(1, bytes(WINDOW + 1))[:9], ErrorCode.FRAME_SIZE_ERROR),
}
"""h2 has PROTOCOL_ERROR for all others, where RFC 9113 names a code for some."""
ENDS = [pytest.param(sent, PROTOCOL, id=name) for name, sent in BROKEN.items()]
ENDS += [pytest.param(*case, id=name) for name, case in OTHER_CODES.items()]


@pytest.mark.parametrize(("sent", "code"), ENDS)
async def test_a_rule_that_the_connection_rests_on_ends_it_when_it_is_broken(
    engine: Engine, client: Client, listening: FakeMethod, sent: bytes, code: ErrorCode
) -> None:
    await client.say(sent)
    await client.until(lambda: False)
    assert client.goodbye == code
    await listening.all_cancelled.wait()
    assert listening.cancelled == len(listening.calls)
    await soon(lambda: not engine.transport.connections)


async def test_a_goodbye_names_the_last_stream_that_was_taken(client: Client) -> None:
    await client.say(headers(7, BLOCK) + headers(9, BLOCK) + data(11, b"x"))
    await client.until(lambda: False)
    (goodbye,) = client.of(frames.GOAWAY)
    assert goodbye.number == 9


# ---------------------------------------------------------------- what ends one stream


@pytest.mark.parametrize(
    ("sent", "resets"),
    [
        pytest.param(headers(1, TRAILERS), {1: PROTOCOL}, id="trailers that don't end their stream"),
        pytest.param(window_update(1, frames.MAX_WINDOW), {1: ErrorCode.FLOW_CONTROL_ERROR}, id="a window too large"),
        pytest.param(rst_stream(1, CANCEL) + data(1, b"x"), {1: ErrorCode.STREAM_CLOSED}, id="DATA after a reset"),
        pytest.param(
            frame(frames.HEADERS, frames.WITH_PRIORITY | 4, 3, b"\0\0\0\3\0" + BLOCK),
            {3: PROTOCOL},
            id="a stream that depends on itself",
        ),
        pytest.param(headers(3, b"\x83"), {3: PROTOCOL}, id="no path"),
        pytest.param(headers(3, BLOCK + literal(b"connection", b"x")), {3: PROTOCOL}, id="a field of HTTP/1.1"),
        pytest.param(headers(3, BLOCK + b"\x83"), {3: PROTOCOL}, id="a pseudo-field after a field"),
    ],
)
async def test_a_rule_of_one_stream_ends_that_and_no_other(
    client: Client, listening: FakeMethod, sent: bytes, resets: dict[int, ErrorCode]
) -> None:
    await client.say(sent)
    assert await client.goes_on()
    assert client.resets == resets
    if 1 in resets:
        await listening.all_cancelled.wait()
    assert listening.cancelled == (1 in resets)
    await client.say(headers(5, raw.block("/test.Fake/Nothing"), end=True))
    await client.until(lambda: client.of(frames.HEADERS, 5))


async def test_a_stream_takes_no_more_than_its_window(engine: Engine) -> None:
    """Its handler hears of it when it asks for what the client sent: h2 tells nobody else."""
    release = asyncio.Event()

    async def slow(requests: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        await release.wait()
        async for _ in requests:
            pass
        yield b""

    method = engine.behaviour.both_stream("Listen", slow)
    await engine.start()
    client = await engine.greeted()
    await client.say(headers(1, BLOCK), data(1, bytes(16_384)) * (WINDOW // 16_384))
    assert await client.goes_on()
    assert not client.resets
    await client.say(data(1, b"x"))
    assert await client.goes_on()
    assert client.resets == {1: ErrorCode.FLOW_CONTROL_ERROR}
    release.set()
    await method.all_cancelled.wait()
    assert method.cancelled == 1


async def test_padding_counts_for_windows_and_is_given_back(client: Client, listening: FakeMethod) -> None:
    padded = frame(frames.DATA, frames.PADDED, 1, b"\xff" + prefixed(bytes(10_000)) + bytes(255))
    size, sent = len(padded) - frames.HEADER.size, 0

    def room() -> int:
        return frames.DEFAULT_WINDOW - sent + sum(one.number for one in client.of(frames.WINDOW_UPDATE, 1))

    while sent < 10 * frames.DEFAULT_WINDOW:
        await client.until(lambda: room() >= size)
        await client.say(padded)
        sent += size
    assert await client.goes_on()
    assert not client.resets
    assert not listening.cancelled


@pytest.mark.parametrize("code", [CANCEL, ErrorCode.NO_ERROR, 0x4711])
async def test_a_call_is_over_when_its_client_resets_it_for_whatever_reason(
    client: Client, listening: FakeMethod, code: int
) -> None:
    await client.say(rst_stream(1, code) * 2)
    await listening.all_cancelled.wait()
    assert await client.goes_on()
    assert not client.of(frames.HEADERS)


async def test_streams_past_the_limit_are_refused_and_their_headers_count_all_the_same(engine: Engine) -> None:
    async def forever(raw: bytes, call: Call) -> bytes:
        return await asyncio.get_running_loop().create_future()

    method = engine.behaviour.unary("Forever", forever)
    await engine.start()
    path = "/test.Fake/Forever"
    client = await engine.client(raw.opening())
    await client.say(b"".join(raw.request(stream, b"", path) for stream in range(1, 2 * STREAMS, 2)))
    await soon(lambda: len(method.calls) == STREAMS)
    refused, last = 2 * STREAMS + 1, 2 * STREAMS + 3
    await client.say(headers(refused, raw.block(path) + literal(b"x-kept", b"in the table", 0x40)))
    assert await client.goes_on()
    assert client.resets == {refused: ErrorCode.REFUSED_STREAM}
    await client.say(rst_stream(1, CANCEL))
    await soon(lambda: method.cancelled)
    assert await client.goes_on()
    await client.say(headers(last, raw.block(path) + b"\xbe") + data(last, prefixed(b""), end=True))
    await soon(lambda: len(method.calls) == STREAMS + 1)
    assert method.calls[-1].metadata == {"x-kept": "in the table"}


# ---------------------------------------------------------------- what breaks no rule


async def test_a_ping_is_answered_once(client: Client) -> None:
    await client.say(PING + frame(frames.PING, frames.ACK, 0, b"01234567"))
    assert await client.goes_on()
    first, last = client.of(frames.PING)
    assert (first.flags, first.payload, last.flags) == (1, b"01234567", 1)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(frames.PRIORITY, 0, 1, b"prior"), id="PRIORITY"),
        pytest.param(frame(frames.PRIORITY, 0, 99, b"prior"), id="PRIORITY on an idle stream"),
        pytest.param(frame(0x77, 0xFF, 1, b"what?"), id="an unknown frame"),
        pytest.param(frame(frames.SETTINGS, frames.ACK, 0), id="SETTINGS acknowledged"),
        pytest.param(frames.settings([(0x4711, 5), (frames.MAX_HEADER_LIST_SIZE, 100)]), id="unknown settings"),
        pytest.param(window_update(0, 2**31 + 5), id="a bit before what a window grows by"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_what_says_nothing_to_us_is_ignored_and_the_calls_go_on(echoing: Engine, sent: bytes) -> None:
    client = await echoing.client(raw.opening() + raw.head(1))
    await client.say(sent, data(2**31 + 1, prefixed(b"body"), end=True))  # the stream's first bit is ignored too
    await client.until(lambda: client.of(frames.DATA))
    assert client.of(frames.DATA)[0].payload == prefixed(b"body")
    assert await client.goes_on()


async def test_a_client_that_says_goodbye_is_still_answered(echoing: Engine) -> None:
    client = await echoing.client(raw.opening() + raw.head(1))
    await client.say(frame(frames.GOAWAY, 0, 0, bytes(8) + b"bye"), data(1, prefixed(b"last"), end=True))
    await client.until(lambda: False)
    assert client.of(frames.DATA)[0].payload == prefixed(b"last")


@pytest.mark.parametrize("flags", [0, frames.PADDED, frames.WITH_PRIORITY, frames.PADDED | frames.WITH_PRIORITY])
@pytest.mark.parametrize("pieces", [1, 2, 5])
async def test_a_header_block_comes_in_any_wrapping(echoing: Engine, flags: int, pieces: int) -> None:
    whole = raw.block() + literal(b"x-a", b"b" * 300)
    size = len(whole) // pieces + 1
    first, *others = [whole[at : at + size] for at in range(0, len(whole), size)]
    if flags & frames.WITH_PRIORITY:
        first = b"prior" + first
    if flags & frames.PADDED:
        first = b"\x03" + first + bytes(3)
    ends = [0] * len(others) + [frames.END_HEADERS]
    client = await echoing.client(raw.opening(), frame(frames.HEADERS, flags | ends[0], 1, first))
    await client.say(*(frame(frames.CONTINUATION, end, 1, one) for one, end in zip(others, ends[1:], strict=True)))
    await client.say(data(1, prefixed(b"x"), end=True))
    await client.until(lambda: client.of(frames.DATA))
    (call,) = echoing.behaviour.methods["test.Fake/Echo"].calls
    assert call.metadata == {"x-a": "b" * 300}


async def test_of_several_windows_in_one_frame_the_last_counts(echoing: Engine) -> None:
    client = await echoing.client(raw.opening(window=0) + raw.request(1, b"hello"))
    await client.until(lambda: client.of(frames.HEADERS))
    several = frames.settings((frames.INITIAL_WINDOW_SIZE, size) for size in (100, 9, 4))
    await client.say(several)
    assert await client.goes_on()
    assert b"".join(one.payload for one in client.of(frames.DATA)) == prefixed(b"hello")[:4]
    settings = [number for number, one in enumerate(client.heard) if one.kind == frames.SETTINGS and one.flags]
    first_data = next(number for number, one in enumerate(client.heard) if one.kind == frames.DATA)
    assert len(settings) == 2
    assert settings[-1] < first_data  # it is acknowledged before use is made of it
    await client.say(frames.settings([(frames.INITIAL_WINDOW_SIZE, 0)]), window_update(1, 5))
    assert await client.goes_on()
    assert b"".join(one.payload for one in client.of(frames.DATA)) == prefixed(b"hello")[:5]


async def test_frames_are_no_larger_than_the_client_takes(echoing: Engine) -> None:
    for most in (16_384, 20_000):
        client = await echoing.greeted(window=2**20)
        await client.say(window_update(0, 2**20), frames.settings([(frames.MAX_FRAME_SIZE, most)]))
        await client.say(raw.request(1, b"x" * 100_000))
        await client.until(lambda client=client: client.of(frames.HEADERS)[1:])
        assert 16_384 <= max(len(one.payload) for one in client.of(frames.DATA)) <= most


async def test_answers_that_wait_for_the_connection_take_turns(echoing: Engine) -> None:
    client = await echoing.greeted(window=2**20)
    await client.say(raw.request(1, b"x" * 100_000), raw.request(3, b"y" * 100_000))
    # Both are answered as far as the connection's window goes, before there is more of that.
    await client.until(lambda: client.of(frames.HEADERS, 1) and client.of(frames.HEADERS, 3))
    await client.until(lambda: sum(len(one.payload) for one in client.of(frames.DATA)) == frames.DEFAULT_WINDOW)
    await client.say(window_update(0, 16_384))
    while len({one.stream for one in client.of(frames.DATA)}) < 2:
        heard = len(client.of(frames.DATA))
        await client.until(lambda heard=heard: len(client.of(frames.DATA)) > heard)
        await client.say(window_update(0, 16_384))
    assert not [one for one in client.of(frames.HEADERS) if one.flags & frames.END_STREAM]


async def test_what_was_on_its_way_to_a_stream_that_we_ended_is_no_fault(echoing: Engine) -> None:
    client = await echoing.client(raw.opening() + headers(1, raw.block("/test.Fake/Nothing")))
    await client.until(lambda: client.of(frames.HEADERS))
    late = (data(1, bytes(10_000)) * 3, window_update(1, 5), headers(1, TRAILERS, end=True), rst_stream(1, CANCEL))
    await client.say(*late)
    assert await client.goes_on()
    await client.say(raw.request(3, b"next"))
    await client.until(lambda: client.of(frames.DATA))
    assert client.of(frames.DATA)[0].payload == prefixed(b"next")


# ---------------------------------------------------------------- anything


async def test_whatever_frames_a_client_sends_nobody_else_hears_of_it(echoing: Engine) -> None:
    draw = random.Random(9)
    kinds = [*range(10), 0x77]
    payloads = [b"", b"x", bytes(4), bytes(5), bytes(8), raw.block(), prefixed(b"hello"), b"\xff" * 100]

    def some() -> bytes:
        stream = draw.choice((0, 1, 1, 3, 3, 5, 2, 2**31 - 1))
        return frame(draw.choice(kinds), draw.choice((0, 1, 4, 5, 8, 0x20, 0x2D, 0xFF)), stream, draw.choice(payloads))

    other = await echoing.client(raw.opening())
    for number in itertools.count(1):
        said = raw.opening() + b"".join(some() for _ in range(draw.randrange(1, 30)))
        client = await echoing.client(*(said[at : at + 50] for at in range(0, len(said), 50)))
        await client.goes_on()
        await client.close()
        if number % 20 == 0:
            await other.say(raw.request(number - 1, b"%d" % number))
            await other.until(lambda number=number: other.of(frames.DATA, number - 1))
            assert other.of(frames.DATA)[-1].payload == prefixed(b"%d" % number)
        if number == 300:
            break
    await soon(lambda: echoing.transport.connections == 1)
