"""gRPC over HTTP/2, its compression and its status codes: the documents of the same names in gRPC's repository."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import zlib
from collections.abc import AsyncIterator

from benchmarks import frames
from benchmarks.frames import rst_stream
from tests.conformance.case import GREETING, OK, UNSAID, Case, Chapter, Script
from tests.conformance.fields import FOREVER, NOTHING_THERE, Field, block, call, request
from tests.conformance.visit import MAX_MESSAGE, Answer, Visit, answers, ending, methods, soon
from tests.transport.raw import Client, data, headers
from tests.transport.serving import Served, served
from tests.transport.socket_wire import messages_in, prefixed

FORBIDDEN = ("UNIMPLEMENTED", "INTERNAL")
COUNT, EACH = "/test.Fake/Count", "/test.Fake/EchoEach"
CANCEL = 8


def one(section: str, name: str, rule: str | tuple[str, ...], sent: bytes | Script) -> Case:
    """Return a case of a connection on which nothing was said before."""
    return Case(section, name, rule, sent, before=GREETING)


async def answered(visit: Visit, said: bytes, stream: int = 1) -> tuple[Client, Answer]:
    """Make a call; return how it was answered."""
    client = await visit.client(GREETING, said)
    await visit.end(client, stream)
    return client, answers(client).get(stream, Answer())


# ---------------------------------------------------------------- requests


def minutes(timeout: str | None) -> Script:
    """Return a client that tells how many minutes a handler has left."""
    fields: list[Field] = [] if timeout is None else [("grpc-timeout", timeout)]

    async def left(visit: Visit) -> str:
        _, answer = await answered(visit, call(*fields, path="/test.Fake/Deadline"))
        (said,) = messages_in(answer.body) or [str(answer).encode()]
        return said.decode()

    return left


def seen(*fields: Field) -> Script:
    """Return a client that tells what a handler sees of these fields."""

    async def told(visit: Visit) -> str:
        client, answer = await answered(visit, call(*fields, path="/test.Fake/Metadata"))
        if str(answer) != OK:
            return str(answer) or ending(client) or f"RST_STREAM {client.resets[1].name}"
        found = json.loads(messages_in(answer.body)[0])
        return ", ".join(f"{name}: {value}" for name, value in sorted(found.items())) or "nothing"

    return told


async def deadline_passes(visit: Visit) -> str:
    said = call(("grpc-timeout", "50m"), path=FOREVER)
    _, answer = await answered(visit, said)
    await soon(lambda: not visit.running("Forever"))
    return f"{answer}, and its handler is cancelled"


async def half_a_request(visit: Visit) -> str:
    handled = visit.handled
    said = headers(1, block(("grpc-timeout", "50m"))) + data(1, prefixed(b"hello")[:7])
    _, answer = await answered(visit, said)
    return f"{answer}, handled" if visit.handled > handled else str(answer)


TIMEOUTS = {"2H": "120", "90M": "90", "7200S": "120", "60000000m": "1000", "99999999u": "2", "99999999H": "5999999940"}
BAD_TIMEOUTS = ("", "S", "1", "1s", "-1S", "+1S", "1.5S", "1 S", "123456789S")
REQUESTS = [
    *(
        one("Requests", f"content-type {name}", OK, call(content_type=name))
        for name in (
            "application/grpc",
            "application/grpc+proto",
            "application/grpc+json",
            "application/grpc;charset=x",
            "Application/GRPC",
        )
    ),
    *(
        one("Requests", f"content-type {name}", "HTTP 415", call(content_type=name))
        for name in ("application/json", "application/grpc-web", "application/grpcx", "")
    ),
    one("Requests", "no content-type", "HTTP 415", call(content_type=None)),
    *(
        one("Requests", f":method {name}", "HTTP 405", call(method=name))
        for name in ("GET", "HEAD", "PUT", "OPTIONS", "post")
    ),
    one("Requests", "no te", UNSAID, call(te=None)),
    one("Requests", "no user-agent", OK, call()),
    one("Requests", "a user-agent", "user-agent: me/1 (of mine)", seen(("user-agent", "me/1 (of mine)"))),
    *(
        one("Requests", name, "UNIMPLEMENTED", call(path=path))
        for name, path in {
            "a method that is not there": NOTHING_THERE,
            "a service that is not there": "/nobody.Knows/This",
            "a method with a slash behind it": "/test.Fake/Echo/",
            "a method with a query": "/test.Fake/Echo?x=y",
            "a method in other letters": "/test.fake/echo",
            "a path of nothing but a slash": "/",
        }.items()
    ),
    one(
        "Requests",
        "a path without its slash",
        ("UNIMPLEMENTED", "RST_STREAM PROTOCOL_ERROR", "GOAWAY PROTOCOL_ERROR"),
        call(path="test.Fake/Echo"),
    ),
    one("Requests", "any grpc-accept-encoding", OK, call(("grpc-accept-encoding", "br,zstd"))),
    one("Requests", "grpc-message-type", OK, call(("grpc-message-type", "test.Message"))),
    # Timeouts.
    one("Requests: Timeout", "no grpc-timeout", "none", minutes(None)),
    *(one("Requests: Timeout", f"grpc-timeout {said}", left, minutes(said)) for said, left in TIMEOUTS.items()),
    *(
        one("Requests: Timeout", f"grpc-timeout {said!r}", UNSAID, call(("grpc-timeout", said)))
        for said in BAD_TIMEOUTS
    ),
    one("Requests: Timeout", "a time that is over", "DEADLINE_EXCEEDED", call(("grpc-timeout", "0S"), path=FOREVER)),
    one("Requests: Timeout", "a time that passes", "DEADLINE_EXCEEDED, and its handler is cancelled", deadline_passes),
    one("Requests: Timeout", "a time that passes before the request is whole", "DEADLINE_EXCEEDED", half_a_request),
    # Metadata.
    one("Custom-Metadata", "a text", "x-a: b", seen(("x-a", "b"))),
    one("Custom-Metadata", "a text of nothing", "x-a: ", seen(("x-a", ""))),
    one("Custom-Metadata", "a name of digits and signs", "0_-.9: b", seen(("0_-.9", "b"))),
    one("Custom-Metadata", "a text that is UTF-8", UNSAID, seen(("x-a", "wörd"))),
    one("Custom-Metadata", "two of a name", "x-a: last", seen(("x-a", "first"), ("x-a", "last"))),
    one(
        "Custom-Metadata",
        "two of tracestate",
        "tracestate: a=1,b=2",
        seen(("tracestate", "a=1"), ("tracestate", "b=2")),
    ),
    one("Custom-Metadata", "bytes", "nothing", seen(("x-key-bin", "AAAA"))),
    one(
        "Custom-Metadata",
        "gRPC's own fields are none",
        "nothing",
        seen(("grpc-timeout", "10S"), ("grpc-accept-encoding", "gzip")),
    ),
    one("Custom-Metadata", "bytes with padding", OK, call(("x-key-bin", "AA=="))),
    one("Custom-Metadata", "bytes without padding", OK, call(("x-key-bin", "AA"))),
    one("Custom-Metadata", "bytes of nothing", OK, call(("x-key-bin", ""))),
    one("Custom-Metadata", "several bytes in one field", OK, call(("x-key-bin", "AA,AAEC"))),
    one("Custom-Metadata", "bytes that are not base64", UNSAID, call(("x-key-bin", "!!"))),
    one("Custom-Metadata", "a name that is gRPC's own", UNSAID, seen(("grpc-mine", "x"))),
    one("Custom-Metadata", "16,000 bytes", OK, call(("x-large", "x" * 16_000))),
    *(
        one("Custom-Metadata", name, "RESOURCE_EXHAUSTED", call(*fields))
        for name, fields in {
            "30,000 bytes": [("x-large", "x" * 30_000)],
            "700 names": [(f"x-{number}", "") for number in range(700)],
        }.items()
    ),
]

# ---------------------------------------------------------------- messages


LARGE = b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big")


def body(name: str, rule: str | tuple[str, ...], sent: bytes, path: str = "/test.Fake/Echo") -> Case:
    return one("Length-Prefixed-Message", name, rule, call(body=sent, path=path))


async def refused_early(visit: Visit) -> str:
    """A message that is too large is refused before it has come."""
    client, answer = await answered(visit, headers(1, block()) + data(1, LARGE + bytes(100)))
    return str(answer) if not client.closed else ending(client)


MESSAGES = [
    body("a message", OK, prefixed(b"hello")),
    body("a message of nothing", OK, prefixed(b"")),
    body("a flag of 2", FORBIDDEN[1], prefixed(b"abc", 2)),
    body("a flag of 255", FORBIDDEN[1], b"\xff" * 100),
    body("half a prefix", FORBIDDEN[1], b"\0\0"),
    body("a message without its end", FORBIDDEN[1], prefixed(b"abc")[:-1]),
    body("a message, and half a prefix", FORBIDDEN, prefixed(b"a") + b"\0"),
    body("a message larger than is taken", "RESOURCE_EXHAUSTED", LARGE),
    one(
        "Length-Prefixed-Message",
        "a message larger than is taken, before it has come",
        "RESOURCE_EXHAUSTED",
        refused_early,
    ),
    one(
        "Length-Prefixed-Message",
        "a message over three frames",
        OK,
        headers(1, block()) + data(1, b"\0\0") + data(1, b"\0\0\5h") + data(1, b"ello", end=True),
    ),
    one(
        "Length-Prefixed-Message",
        "the end of the request in a frame of its own",
        OK,
        call(end=False) + data(1, end=True),
    ),
]

# ---------------------------------------------------------------- compression

PACKED, DEFLATED = gzip.compress(b"hello"), zlib.compress(b"hello")


async def names_what_it_takes(visit: Visit) -> str:
    _, answer = await answered(visit, call(("grpc-encoding", "br"), body=prefixed(b"x", 1)))
    return f"{answer}, which names {answer.fields.get('grpc-accept-encoding', 'nothing')}"


async def mixed(visit: Visit) -> str:
    parts = (prefixed(PACKED, 1), prefixed(b"plain"), prefixed(PACKED, 1))
    _, answer = await answered(visit, call(("grpc-encoding", "gzip"), path=EACH, body=b"".join(parts)))
    return ", ".join(one.decode() for one in messages_in(answer.body))


def packed(name: str, rule: str | tuple[str, ...], encoding: str | None, message: bytes) -> Case:
    fields: list[Field] = [] if encoding is None else [("grpc-encoding", encoding)]
    return one("Compression", name, rule, call(*fields, body=message))


COMPRESSION = [
    packed("gzip", OK, "gzip", prefixed(PACKED, 1)),
    packed("deflate", OK, "deflate", prefixed(DEFLATED, 1)),
    packed("identity", OK, "identity", prefixed(b"hello")),
    packed("gzip, but a message as it is", OK, "gzip", prefixed(b"hello")),
    one("Compression", "of three messages, the second as it is", "hello, plain, hello", mixed),
    packed("an encoding that nobody knows", "UNIMPLEMENTED", "br", prefixed(b"x", 1)),
    packed("an encoding that nobody knows, and a message as it is", "UNIMPLEMENTED", "br", prefixed(b"x")),
    packed("gzip in capitals", "UNIMPLEMENTED", "GZIP", prefixed(PACKED, 1)),
    one(
        "Compression", "what the refusal names", "UNIMPLEMENTED, which names identity,deflate,gzip", names_what_it_takes
    ),
    packed("a compressed message, and no encoding", "INTERNAL", None, prefixed(PACKED, 1)),
    packed("a compressed message, and identity", "INTERNAL", "identity", prefixed(PACKED, 1)),
    packed("what is not gzip", "INTERNAL", "gzip", prefixed(b"not compressed", 1)),
    packed("gzip without its end", "INTERNAL", "gzip", prefixed(PACKED[:-5], 1)),
    packed("gzip with a wrong sum", "INTERNAL", "gzip", prefixed(PACKED[:-8] + bytes(8), 1)),
    packed("gzip, and another behind its end", "INTERNAL", "gzip", prefixed(PACKED + PACKED, 1)),
    packed("gzip, and more behind its end", "INTERNAL", "gzip", prefixed(PACKED + b"b", 1)),
    packed(
        "gzip of more than is taken", "RESOURCE_EXHAUSTED", "gzip", prefixed(gzip.compress(bytes(MAX_MESSAGE + 1)), 1)
    ),
]

# ---------------------------------------------------------------- responses


async def headers_and_trailers(visit: Visit) -> str:
    _, answer = await answered(visit, call())
    first, last = answer.blocks
    return f"{_listed(first, ':status', 'content-type')}; {_listed(last, 'grpc-status')}"


def _listed(fields: dict[str, str], *names: str) -> str:
    return ", ".join(f"{name} {fields[name]}" if name in fields else f"no {name}" for name in names)


async def trailers_only(visit: Visit) -> str:
    _, answer = await answered(visit, call(path=NOTHING_THERE))
    if len(answer.blocks) > 1 or answer.body:
        return f"{len(answer.blocks)} blocks and {len(answer.body)} bytes"
    return _listed(answer.fields, ":status", "content-type", "grpc-status")


def text_of(text: str) -> Script:
    """Return a client that tells how a status's text goes over the wire."""

    async def told(visit: Visit) -> str:
        _, answer = await answered(visit, call(path="/test.Fake/Fail", body=prefixed(text.encode())))
        return answer.fields.get("grpc-message", "nothing")

    return told


async def trailing_bytes(visit: Visit) -> str:
    _, answer = await answered(visit, call(path="/test.Fake/Fail", body=prefixed(b"")))
    return _listed(answer.fields, "x-why", "x-data-bin")


async def after_an_answer(visit: Visit) -> str:
    _, answer = await answered(visit, call(path="/test.Fake/FailLater"))
    return f"{len(messages_in(answer.body))} message, then {answer}"


async def no_answers(visit: Visit) -> str:
    _, answer = await answered(visit, call(path=COUNT, body=prefixed(b"")))
    return f"{answer} in {len(answer.blocks)} block{'s' * (len(answer.blocks) > 1)}"


async def own_encoding(visit: Visit) -> str:
    _, answer = await answered(visit, call(("grpc-accept-encoding", "identity")))
    return answer.fields.get("grpc-encoding", "identity")


RESPONSES = [
    one(
        "Responses",
        "what an answer begins and ends with",
        ":status 200, content-type application/grpc; grpc-status 0",
        headers_and_trailers,
    ),
    one(
        "Responses",
        "a status without an answer: Trailers-Only",
        ":status 200, content-type application/grpc, grpc-status 12",
        trailers_only,
    ),
    one("Responses", "a stream without an answer", UNSAID, no_answers),
    one("Responses", "a failure after an answer", "1 message, then ABORTED", after_an_answer),
    one("Responses", "a text with a percent sign", "100%25", text_of("100%")),
    one("Responses", "a text that is UTF-8", "w%C3%B6rd", text_of("wörd")),
    one("Responses", "a text of two lines", "a%0Ab", text_of("a\nb")),
    one(
        "Responses",
        "a text with all signs",
        " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~",
        text_of(" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ),
    one("Responses", "trailing metadata, as text and bytes", "x-why because, x-data-bin AAECAw", trailing_bytes),
    one("Responses", "an answer to who takes identity only", "identity", own_encoding),
]

# ---------------------------------------------------------------- how calls go and end


async def each_before_the_next(visit: Visit) -> str:
    client = await visit.client(GREETING, headers(1, block(path=EACH)))
    for number in range(3):
        await client.say(data(1, prefixed(b"%d" % number)))
        await client.until(lambda number=number: len(answers(client).get(1, Answer()).body) == 6 * (number + 1))
    await client.say(data(1, end=True))
    return await visit.end(client, 1)


async def reset_cancels(visit: Visit) -> str:
    client = await visit.client(GREETING, request(1, b"", FOREVER))
    await soon(lambda: visit.running("Forever"))
    await client.say(rst_stream(1, CANCEL))
    await soon(lambda: not visit.running("Forever"))
    await visit.goes_on(client)
    return (
        ending(client) or "its handler is cancelled, and nothing is answered"
        if 1 not in answers(client)
        else "answered"
    )


async def gone_cancels(visit: Visit) -> str:
    client = await visit.client(GREETING, request(1, b"", FOREVER) + request(3, b"", FOREVER))
    await soon(lambda: visit.running("Forever") == 2)
    await client.close()
    await soon(lambda: not visit.running("Forever"))
    return "its handlers are cancelled"


async def late_body(visit: Visit) -> str:
    """A refusal comes before the request is whole; what was on its way is no fault."""
    client, answer = await answered(visit, headers(1, block(path=NOTHING_THERE)))
    await client.say(data(1, prefixed(b"late"), end=True))
    await visit.goes_on(client)
    return ending(client) or f"{answer}, and the connection goes on"


CALLS = [
    one("Requests: EOS", "a unary call without a message", "UNIMPLEMENTED", call(body=b"")),
    one("Requests: EOS", "a unary call that ends with its head", "UNIMPLEMENTED", headers(1, block(), end=True)),
    one("Requests: EOS", "a unary call with two messages", "UNIMPLEMENTED", call(body=prefixed(b"a") + prefixed(b"b"))),
    one(
        "Requests: EOS",
        "a stream of answers asked for by two messages",
        "UNIMPLEMENTED",
        call(path=COUNT, body=prefixed(b"a") + prefixed(b"b")),
    ),
    one("Requests: EOS", "a unary call whose client may say more", UNSAID, call(end=False)),
    one("Requests: EOS", "a stream that ends with its head", OK, headers(1, block(path=EACH), end=True)),
    one("Requests: EOS", "a stream whose messages are answered one by one", OK, each_before_the_next),
    one("Errors", "RST_STREAM with CANCEL", "its handler is cancelled, and nothing is answered", reset_cancels),
    one("Errors", "a client that vanishes", "its handlers are cancelled", gone_cancels),
    one("Errors", "a body after its call was refused", "UNIMPLEMENTED, and the connection goes on", late_body),
]

# ---------------------------------------------------------------- the end of a server


@contextlib.asynccontextmanager
async def own_server(plane: str) -> AsyncIterator[Served]:
    async with served(plane, methods(), max_message_bytes=MAX_MESSAGE) as server:
        yield server


async def goodbye(visit: Visit) -> str:
    """A call is under way when the server says goodbye, and answered afterwards."""
    async with own_server(visit.plane) as server:
        visit = Visit(server, visit.plane)
        client = await visit.client(GREETING, headers(1, block()))
        await client.goes_on()
        going = asyncio.ensure_future(server.transport.say_goodbye())
        await client.until(lambda: client.goodbye is not None)
        await client.say(data(1, prefixed(b"hello"), end=True))
        end = await visit.end(client, 1)
        await client.until(lambda: False)
        await going
        last = client.of(frames.GOAWAY)[-1].number
        await visit.leave()
        return f"{ending(client)}, then {end}; the last stream is {'its' if last >= 1 else last}"


async def unfinished(visit: Visit) -> str:
    async with own_server(visit.plane) as server:
        visit = Visit(server, visit.plane)
        client = await visit.client(GREETING, request(1, b"", FOREVER))
        await soon(lambda: visit.running("Forever"))
        going = asyncio.ensure_future(server.transport.say_goodbye())
        await client.until(lambda: False)
        await going
        await visit.leave()
        answer = str(answers(client).get(1, Answer()))
        return answer or (f"RST_STREAM {client.resets[1].name}" if 1 in client.resets else ending(client))


END = [
    one(
        "GOAWAY",
        "a server that goes, and a call under way",
        "GOAWAY NO_ERROR, then OK; the last stream is its",
        goodbye,
    ),
    one("GOAWAY", "a server that goes, and a call that does not end", ("UNAVAILABLE", "CANCELLED"), unfinished),
]
CHAPTER = Chapter("gRPC over HTTP/2", (*REQUESTS, *MESSAGES, *COMPRESSION, *RESPONSES, *CALLS, *END))
