"""RFC 9113, sections 3 to 7: connections, frames and streams."""

from __future__ import annotations

import random

from benchmarks import frames
from benchmarks.frames import frame, rst_stream, settings, window_update
from tests.conformance.case import (
    GOES_ON,
    GREETING,
    OK,
    PING,
    UNSAID,
    Case,
    Chapter,
    Script,
    connection,
    goaway,
    reset,
    stream_error,
)
from tests.conformance.fields import FOREVER, LISTEN, NOTHING_THERE, block, call, padded, request
from tests.conformance.visit import PROBE, Visit, answers, ending
from tests.transport.raw import data, headers, literal
from tests.transport.socket_wire import prefixed

PROTOCOL, SIZE, FLOW = "PROTOCOL_ERROR", "FRAME_SIZE_ERROR", "FLOW_CONTROL_ERROR"
CANCEL = 8
TRAILERS = literal(b"x-checksum", b"1")
REQUEST = request(1, b"hello")
DEPENDS = b"\0\0\0\0\x0f"
"""On no stream, with a weight."""
UNKNOWN = 0x77
NO_BLOCK = frame(frames.CONTINUATION, frames.END_HEADERS, 1)
ENDED = GREETING + headers(1, block(path=NOTHING_THERE), end=True)
"""A call that the server has answered and ended."""
NO_BODY = headers(1, LISTEN, end=True)
"""A call whose client has ended its side, while its handler runs."""

# ---------------------------------------------------------------- 3: the beginning


async def http1(visit: Visit) -> str:
    client = await visit.client(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    said = await client.rest()
    if said.startswith(b"HTTP/1.1 505 "):
        return "HTTP/1.1 505, which says that gRPC is spoken here" if b"gRPC" in said else "HTTP/1.1 505"
    kinds = [one.kind for one, _ in frames.whole(said)]
    return "GOAWAY" if frames.GOAWAY in kinds else "hangs up"


async def byte_by_byte(visit: Visit) -> str:
    client = await visit.client()
    for byte in GREETING + REQUEST:
        await client.say(bytes((byte,)))
    return await visit.end(client, 1)


async def settings_first(visit: Visit) -> str:
    client = await visit.client(GREETING)
    await client.until(lambda: client.heard)
    return "SETTINGS" if client.heard[0].kind == frames.SETTINGS else "another frame"


async def acknowledged(visit: Visit) -> str:
    client = await visit.client(GREETING)
    await client.until(lambda: [one for one in client.of(frames.SETTINGS) if one.flags & frames.ACK])
    return "SETTINGS with ACK"


BEGINNING = [
    Case("3.3", "HTTP/1.1", "HTTP/1.1 505, which says that gRPC is spoken here", http1),
    Case("3.4", "a preface, SETTINGS and a call", OK, GREETING + REQUEST, before=b""),
    Case("3.4", "all of it byte by byte", OK, byte_by_byte),
    Case("3.4", "what the server says first", "SETTINGS", settings_first),
    Case("3.4", "SETTINGS that say nothing", OK, frames.PREFACE + settings([]) + REQUEST, before=b""),
    *connection(
        "3.4",
        {
            "no preface but noise": random.Random(7).randbytes(3_000),
            "a preface with a wrong letter": GREETING.replace(b"SM", b"SN"),
            "PING before SETTINGS": frames.PREFACE + PING + GREETING[len(frames.PREFACE) :],
            "HEADERS before SETTINGS": frames.PREFACE + REQUEST,
            "an unknown frame before SETTINGS": frames.PREFACE + frame(UNKNOWN, 0, 0),
        },
        PROTOCOL,
        before=b"",
    ),
]

# ---------------------------------------------------------------- 4: frames and header blocks


def beyond(kind: int, stream: int) -> Script:
    """Return a client that sends a frame that is longer than the server takes."""

    async def longer(visit: Visit) -> str:
        client = await visit.listening()
        await client.until(lambda: client.of(frames.SETTINGS))
        said = dict(frames.settings_in(client.of(frames.SETTINGS)[0].payload))
        size = said.get(frames.MAX_FRAME_SIZE, frames.DEFAULT_FRAME_SIZE) + 1
        await client.say(frame(kind, frames.END_HEADERS, stream, bytes(size))[: frames.HEADER.size])
        return await visit.end(client, stream)

    return longer


def wrapped(flags: int, pieces: int) -> bytes:
    """Return a call whose header block comes in this wrapping."""
    whole = block(("x-a", "b" * 300))
    size = len(whole) // pieces + 1
    first, *others = [whole[at : at + size] for at in range(0, len(whole), size)]
    if flags & frames.WITH_PRIORITY:
        first = DEPENDS + first
    if flags & frames.PADDED:
        first = b"\x03" + first + bytes(3)
    ends = [0] * len(others) + [frames.END_HEADERS]
    said = frame(frames.HEADERS, flags | ends[0], 1, first)
    said += b"".join(frame(frames.CONTINUATION, end, 1, one) for one, end in zip(others, ends[1:], strict=True))
    return said + data(1, prefixed(b"hello"), end=True)


WRAPPINGS = {"": 0, ", padded": frames.PADDED, ", with a priority": frames.WITH_PRIORITY}
WRAPPINGS[", padded, with a priority"] = frames.PADDED | frames.WITH_PRIORITY
FORMAT = [
    Case("4.1", "an unknown frame", GOES_ON, frame(UNKNOWN, 0xFF, 1, b"what?")),
    Case("4.1", "an unknown frame on an idle stream", GOES_ON, frame(UNKNOWN, 0, 99, b"what?")),
    Case("4.1", "flags that PING does not have", GOES_ON, frame(frames.PING, 0xFE, 0, b"01234567")),
    Case(
        "4.1",
        "a first bit of the stream's number",
        OK,
        headers(1, block()) + data(2**31 + 1, prefixed(b"hello"), end=True),
        before=GREETING,
    ),
    Case("4.2", "DATA of 16,384 bytes", OK, call(body=prefixed(bytes(16_379))), before=GREETING),
    Case("4.2", "DATA longer than the server takes", stream_error(SIZE), beyond(frames.DATA, 1)),
    Case("4.2", "HEADERS longer than the server takes", goaway(SIZE), beyond(frames.HEADERS, 3)),
    Case("4.2", "SETTINGS longer than the server takes", goaway(SIZE), beyond(frames.SETTINGS, 0)),
    *(
        Case(
            "4.3",
            f"a header block in {pieces} frame{'s' * (pieces > 1)}{name}",
            OK,
            wrapped(flags, pieces),
            before=GREETING,
        )
        for name, flags in WRAPPINGS.items()
        for pieces in (1, 2, 5)
    ),
    *connection(
        "4.3",
        {
            "PING within a block": frame(frames.HEADERS, 0, 3, LISTEN) + PING,
            "PRIORITY within a block": frame(frames.HEADERS, 0, 3, LISTEN) + frame(frames.PRIORITY, 0, 3, DEPENDS),
            "HEADERS of another stream within a block": frame(frames.HEADERS, 0, 3, LISTEN) + headers(5, LISTEN),
            "DATA within a block": frame(frames.HEADERS, 0, 3, LISTEN) + data(1, b"x"),
            "another stream's CONTINUATION": frame(frames.HEADERS, 0, 3, LISTEN) + frame(frames.CONTINUATION, 4, 5),
        },
        PROTOCOL,
    ),
]

# ---------------------------------------------------------------- 5: streams


async def past_the_limit(visit: Visit) -> str:
    """More calls than the server says that it takes, or 300 where it says nothing."""
    client = await visit.client(GREETING)
    await client.until(lambda: client.of(frames.SETTINGS))
    said = dict(frames.settings_in(client.of(frames.SETTINGS)[0].payload))
    most = said.get(frames.MAX_CONCURRENT_STREAMS, 300)
    await client.say(b"".join(request(2 * n + 1, b"", FOREVER) for n in range(most + 1)))
    if frames.MAX_CONCURRENT_STREAMS not in said:
        await client.goes_on()
        return "takes them, as it names no limit" if not client.resets else "refuses some, but names no limit"
    return await visit.end(client, 2 * most + 1)


async def last_taken(visit: Visit) -> str:
    client = await visit.listening()
    await client.say(headers(7, LISTEN) + headers(9, LISTEN) + NO_BLOCK)
    await visit.end(client, PROBE)
    return f"the last is {client.of(frames.GOAWAY)[-1].number}" if client.goodbye else ending(client) or GOES_ON


AFTER_RESET = rst_stream(1, CANCEL)
STREAMS = [
    *connection(
        "5.1",
        {
            "DATA on an idle stream": data(5, b"x"),
            "DATA on a stream of the server's": data(2, b"x"),
            "RST_STREAM on an idle stream": rst_stream(5, CANCEL),
            "WINDOW_UPDATE on an idle stream": window_update(5, 1),
            "CONTINUATION on an idle stream": frame(frames.CONTINUATION, frames.END_HEADERS, 5, TRAILERS),
        },
        PROTOCOL,
    ),
    Case("5.1", "PRIORITY on an idle stream", GOES_ON, frame(frames.PRIORITY, 0, 99, DEPENDS)),
    Case("5.1", "DATA after END_STREAM", stream_error("STREAM_CLOSED"), NO_BODY + data(1, b"x"), before=GREETING),
    Case(
        "5.1",
        "HEADERS after END_STREAM",
        stream_error("STREAM_CLOSED"),
        NO_BODY + headers(1, TRAILERS, end=True),
        before=GREETING,
    ),
    Case(
        "5.1",
        "CONTINUATION after END_STREAM",
        goaway(PROTOCOL),
        NO_BODY + frame(frames.CONTINUATION, 4, 1, TRAILERS),
        before=GREETING,
    ),
    Case("5.1", "WINDOW_UPDATE after END_STREAM", GOES_ON, NO_BODY + window_update(1, 1), before=GREETING),
    Case("5.1", "PRIORITY after END_STREAM", GOES_ON, NO_BODY + frame(frames.PRIORITY, 0, 1, DEPENDS), before=GREETING),
    Case("5.1", "DATA after RST_STREAM", stream_error("STREAM_CLOSED"), AFTER_RESET + data(1, b"x")),
    Case("5.1", "HEADERS after RST_STREAM", stream_error("STREAM_CLOSED"), AFTER_RESET + headers(1, LISTEN)),
    Case(
        "5.1",
        "CONTINUATION after RST_STREAM",
        goaway(PROTOCOL),
        AFTER_RESET + frame(frames.CONTINUATION, 4, 1, TRAILERS),
    ),
    Case("5.1", "RST_STREAM after RST_STREAM", GOES_ON, AFTER_RESET * 2),
    Case("5.1", "WINDOW_UPDATE after RST_STREAM", GOES_ON, AFTER_RESET + window_update(1, 1)),
    Case("5.1", "PRIORITY after RST_STREAM", GOES_ON, AFTER_RESET + frame(frames.PRIORITY, 0, 1, DEPENDS)),
    Case("5.1.1", "HEADERS on an even stream", goaway(PROTOCOL), headers(2, LISTEN)),
    Case(
        "5.1.1", "HEADERS on a stream that was passed over", goaway(PROTOCOL), headers(9, LISTEN) + headers(7, LISTEN)
    ),
    Case("5.1.1", "streams that skip numbers", OK, request(99, b"hello"), stream=99),
    Case("5.1.2", "more streams than the server says", reset("REFUSED_STREAM"), past_the_limit),
    Case("5.4.1", "what GOAWAY names as the last stream", "the last is 9", last_taken),
    Case(
        "5.5",
        "an unknown frame within a block",
        goaway(PROTOCOL),
        frame(frames.HEADERS, 0, 3, LISTEN) + frame(UNKNOWN, 0, 3),
    ),
]

# ---------------------------------------------------------------- 6: what each frame may say


async def pinged(visit: Visit) -> str:
    client = await visit.greeted(PING)
    await client.until(lambda: client.of(frames.PING))
    (answer,) = client.of(frames.PING)
    return "PING with ACK, and what was sent" if (answer.flags, answer.payload) == (1, b"01234567") else str(answer)


async def answered_ping(visit: Visit) -> str:
    client = await visit.greeted(frame(frames.PING, frames.ACK, 0, b"01234567"))
    await client.goes_on()
    return "an answer" if any(one.payload == b"01234567" for one in client.of(frames.PING)) else "nothing"


async def last_window(visit: Visit) -> str:
    client = await visit.greeted(REQUEST, window=0)
    await client.until(lambda: client.of(frames.HEADERS))
    await client.say(settings((frames.INITIAL_WINDOW_SIZE, size) for size in (100, 9, 4)))
    await client.until(lambda: client.of(frames.DATA, 1))
    await client.goes_on()
    return f"{sum(len(one.payload) for one in client.of(frames.DATA, 1))} bytes"


async def window_below_none(visit: Visit) -> str:
    """A window that is made smaller than what was sent: nothing goes until it is above nothing again."""
    client = await visit.greeted(REQUEST, window=4)
    await client.until(lambda: client.of(frames.DATA))
    await client.say(settings([(frames.INITIAL_WINDOW_SIZE, 0)]), window_update(1, 3))
    await client.goes_on()
    first = sum(len(one.payload) for one in client.of(frames.DATA, 1))
    await client.say(window_update(1, 2))
    await client.until(lambda: sum(len(one.payload) for one in client.of(frames.DATA, 1)) > first)
    return f"{first} bytes, then {sum(len(one.payload) for one in client.of(frames.DATA, 1))}"


async def one_by_one(visit: Visit) -> str:
    client = await visit.greeted(REQUEST, window=1)
    await client.until(lambda: client.of(frames.DATA))
    return f"DATA of {len(client.of(frames.DATA)[0].payload)} byte"


def frames_of(most: int) -> Script:
    async def large(visit: Visit) -> str:
        client = await visit.greeted(window=2**20)
        await client.say(window_update(0, 2**20), settings([(frames.MAX_FRAME_SIZE, most)]))
        await client.say(request(1, b"x" * 100_000))
        await client.until(lambda: answers(client).get(1) and answers(client)[1].ended)
        size = max(len(one.payload) for one in client.of(frames.DATA))
        return f"at most {most:,} bytes a frame" if size <= most else f"{size:,} bytes"

    return large


async def still_answered(visit: Visit) -> str:
    client = await visit.greeted(headers(1, block()))
    await client.say(frame(frames.GOAWAY, 0, 0, bytes(8) + b"bye"), data(1, prefixed(b"last"), end=True))
    await client.until(lambda: answers(client).get(1) and answers(client)[1].ended)
    return str(answers(client)[1])


async def late(visit: Visit) -> str:
    """What was on its way to a stream that the server has ended."""
    client = await visit.client(GREETING + headers(1, block(path=NOTHING_THERE)))
    await client.until(lambda: client.of(frames.HEADERS))
    await client.say(data(1, bytes(10_000)) * 3, window_update(1, 5), headers(1, TRAILERS, end=True), AFTER_RESET)
    await visit.goes_on(client)
    return ending(client) or GOES_ON


def refused_setting(section: str, name: str, setting: int, value: int, code: str) -> Case:
    return Case(section, name, goaway(code), settings([(setting, value)]))


KINDS = [
    # DATA
    Case("6.1", "DATA on stream 0", goaway(PROTOCOL), data(0, b"x")),
    Case("6.1", "padding as long as its frame", goaway(PROTOCOL), frame(frames.DATA, frames.PADDED, 1, b"\x05abcd")),
    Case(
        "6.1",
        "DATA with padding",
        OK,
        headers(1, block()) + padded(frames.DATA, 1, 1, prefixed(b"hello")),
        before=GREETING,
    ),
    Case("6.1", "DATA that is nothing but padding", GOES_ON, padded(frames.DATA, 0, 1, b"")),
    Case(
        "6.1",
        "DATA without a byte",
        OK,
        headers(1, block()) + data(1) + data(1, prefixed(b"hello")) + data(1, end=True),
        before=GREETING,
    ),
    # HEADERS
    Case("6.2", "HEADERS on stream 0", goaway(PROTOCOL), headers(0, LISTEN)),
    Case(
        "6.2",
        "HEADERS padded by more than their frame",
        goaway(PROTOCOL),
        frame(frames.HEADERS, frames.PADDED | 4, 3, b"\xff" + LISTEN),
    ),
    Case(
        "6.2",
        "HEADERS too short for their priority",
        goaway(SIZE),
        frame(frames.HEADERS, frames.WITH_PRIORITY | 4, 3, b"prio"),
    ),
    # PRIORITY
    Case("6.3", "PRIORITY", GOES_ON, frame(frames.PRIORITY, 0, 1, DEPENDS)),
    Case("6.3", "PRIORITY on stream 0", goaway(PROTOCOL), frame(frames.PRIORITY, 0, 0, DEPENDS)),
    Case("6.3", "PRIORITY of 4 bytes", stream_error(SIZE), frame(frames.PRIORITY, 0, 9, b"prio"), stream=9),
    Case("6.3", "a stream that depends on itself, by PRIORITY", UNSAID, frame(frames.PRIORITY, 0, 1, b"\0\0\0\1\0")),
    Case(
        "6.3",
        "a stream that depends on itself, by HEADERS",
        UNSAID,
        frame(frames.HEADERS, frames.WITH_PRIORITY | 4, 3, b"\0\0\0\3\0" + LISTEN),
        stream=3,
    ),
    # RST_STREAM
    Case("6.4", "RST_STREAM on stream 0", goaway(PROTOCOL), rst_stream(0, CANCEL)),
    Case("6.4", "RST_STREAM of 3 bytes", goaway(SIZE), frame(frames.RST_STREAM, 0, 1, b"abc")),
    Case("6.4", "RST_STREAM of 5 bytes", goaway(SIZE), frame(frames.RST_STREAM, 0, 1, b"abcde")),
    # SETTINGS
    Case("6.5", "SETTINGS", "SETTINGS with ACK", acknowledged),
    Case("6.5", "SETTINGS on a stream", goaway(PROTOCOL), frame(frames.SETTINGS, 0, 1)),
    Case("6.5", "SETTINGS of 5 bytes", goaway(SIZE), frame(frames.SETTINGS, 0, 0, b"abcde")),
    Case("6.5", "SETTINGS with ACK, and more", goaway(SIZE), frame(frames.SETTINGS, frames.ACK, 0, bytes(6))),
    Case("6.5.2", "unknown settings", GOES_ON, settings([(0x4711, 5)])),
    Case("6.5.2", "a limit of header fields", GOES_ON, settings([(frames.MAX_HEADER_LIST_SIZE, 100)])),
    refused_setting("6.5.2", "ENABLE_PUSH of 2", frames.ENABLE_PUSH, 2, PROTOCOL),
    refused_setting("6.5.2", "a window of 2^31", frames.INITIAL_WINDOW_SIZE, 2**31, FLOW),
    refused_setting("6.5.2", "frames of 16,383 bytes", frames.MAX_FRAME_SIZE, 16_383, PROTOCOL),
    refused_setting("6.5.2", "frames of 2^24 bytes", frames.MAX_FRAME_SIZE, 2**24, PROTOCOL),
    Case("6.5.2", "a client that takes frames of 16,384 bytes", "at most 16,384 bytes a frame", frames_of(16_384)),
    Case("6.5.2", "a client that takes frames of 20,000 bytes", "at most 20,000 bytes a frame", frames_of(20_000)),
    Case("6.5.3", "three windows in one frame, the last of 4 bytes", "4 bytes", last_window),
    Case("6.5.3", "SETTINGS with ACK that nobody waits for", UNSAID, frame(frames.SETTINGS, frames.ACK, 0) * 2),
    # PUSH_PROMISE
    Case(
        "6.6", "PUSH_PROMISE", goaway(PROTOCOL), frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, b"\0\0\0\2" + LISTEN)
    ),
    # PING
    Case("6.7", "PING", "PING with ACK, and what was sent", pinged),
    Case("6.7", "PING with ACK", "nothing", answered_ping),
    Case("6.7", "PING on a stream", goaway(PROTOCOL), frame(frames.PING, 0, 1, bytes(8))),
    Case("6.7", "PING of 7 bytes", goaway(SIZE), frame(frames.PING, 0, 0, bytes(7))),
    # GOAWAY
    Case("6.8", "GOAWAY, and then a call's body", OK, still_answered),
    Case("6.8", "GOAWAY on a stream", goaway(PROTOCOL), frame(frames.GOAWAY, 0, 1, bytes(8))),
    Case("6.8", "GOAWAY of 7 bytes", goaway(SIZE), frame(frames.GOAWAY, 0, 0, bytes(7))),
    # WINDOW_UPDATE
    Case("6.9", "WINDOW_UPDATE of nothing on the connection", goaway(PROTOCOL), window_update(0, 0)),
    Case("6.9", "WINDOW_UPDATE of nothing on a stream", stream_error(PROTOCOL), window_update(1, 0)),
    Case("6.9", "WINDOW_UPDATE of 3 bytes", goaway(SIZE), frame(frames.WINDOW_UPDATE, 0, 1, bytes(3))),
    Case("6.9", "a first bit of what a window grows by", GOES_ON, window_update(0, 2**31 + 5)),
    Case("6.9", "a window of one byte", "DATA of 1 byte", one_by_one),
    Case("6.9.1", "the connection's window beyond 2^31-1", goaway(FLOW), window_update(0, frames.MAX_WINDOW) * 2),
    Case("6.9.1", "a stream's window beyond 2^31-1", stream_error(FLOW), window_update(1, frames.MAX_WINDOW) * 2),
    Case("6.9.2", "a window that gets smaller than what was sent", "4 bytes, then 5", window_below_none),
    Case(
        "6.9.2",
        "a stream's window beyond 2^31-1 by SETTINGS",
        goaway(FLOW),
        window_update(1, frames.MAX_WINDOW - 65_535) + settings([(frames.INITIAL_WINDOW_SIZE, 65_536)]),
    ),
    # CONTINUATION
    *connection(
        "6.10",
        {
            "CONTINUATION on stream 0": frame(frames.CONTINUATION, frames.END_HEADERS, 0),
            "CONTINUATION after HEADERS that end their block": headers(3, LISTEN) + frame(frames.CONTINUATION, 4, 3),
            "CONTINUATION after one that ends its block": frame(frames.HEADERS, 0, 3, LISTEN)
            + frame(frames.CONTINUATION, 4, 3) * 2,
            "CONTINUATION after DATA": data(1, b"x") + frame(frames.CONTINUATION, frames.END_HEADERS, 1),
        },
        PROTOCOL,
    ),
    # 7: error codes
    Case("7", "RST_STREAM with NO_ERROR", GOES_ON, rst_stream(1, 0)),
    Case("7", "RST_STREAM with a code that nobody knows", GOES_ON, rst_stream(1, 0x4711)),
    Case("7", "GOAWAY with a code that nobody knows", GOES_ON, frame(frames.GOAWAY, 0, 0, bytes(6) + b"\x47\x11")),
    Case("5.1", "what was on its way to a stream that the server has ended", GOES_ON, late),
]

CHAPTER = Chapter(
    "RFC 9113: HTTP/2, frames and streams",
    (*BEGINNING, *FORMAT, *STREAMS, *sorted(KINDS, key=lambda case: case.section == "7")),
)
