"""RFC 9113, section 8: what a request is."""

from __future__ import annotations

from benchmarks import frames
from benchmarks.frames import frame
from tests.conformance.case import GREETING, MALFORMED, OK, Case, Chapter, goaway
from tests.conformance.fields import LISTEN, Field, block, call, request
from tests.conformance.visit import Visit, answers
from tests.transport.raw import data, headers, literal
from tests.transport.socket_wire import prefixed

TRAILERS = literal(b"x-checksum", b"1")
BODY = data(1, prefixed(b"hello"))


def malformed(section: str, name: str, sent: bytes) -> Case:
    return Case(section, name, MALFORMED, sent, before=GREETING)


def field(name: str | bytes, value: str | bytes) -> bytes:
    return call((name, value))


async def no_content(visit: Visit) -> str:
    """What a malformed request does to others of its connection."""
    client = await visit.client(GREETING)
    await client.say(call(("connection", "close")), request(3, b"next"))
    return await visit.end(client, 3)


async def order(visit: Visit) -> str:
    client = await visit.greeted(request(1, b"hello"))
    await client.until(lambda: answers(client).get(1) and answers(client)[1].ended)
    kinds = [one.kind for one in client.heard if one.stream == 1 and one.kind in (frames.HEADERS, frames.DATA)]
    first, *_, last = kinds
    return "HEADERS, DATA, HEADERS" if (first, last) == (frames.HEADERS,) * 2 and frames.DATA in kinds else str(kinds)


UPGRADE: list[Field] = [
    ("connection", "close"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "close"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "h2c"),
]
CASES = [
    Case("8.1", "the frames of an answer", "HEADERS, DATA, HEADERS", order),
    Case(
        "8.1",
        "trailers that end the request",
        OK,
        headers(1, block()) + BODY + headers(1, TRAILERS, end=True),
        before=GREETING,
    ),
    malformed("8.1", "trailers that don't end the request", headers(1, block()) + BODY + headers(1, TRAILERS)),
    malformed(
        "8.1",
        "trailers with a pseudo-field",
        headers(1, block()) + BODY + headers(1, literal(b":path", b"/x"), end=True),
    ),
    malformed("8.1.1", "a content-length less than the body", call(("content-length", "4"))),
    malformed("8.1.1", "a content-length more than the body", call(("content-length", "11"))),
    malformed("8.1.1", "a content-length, and no body", headers(1, block(("content-length", "10")), end=True)),
    malformed("8.1.1", "a content-length that is no number", call(("content-length", "x"))),
    Case("8.1.1", "the content-length that it has", OK, call(("content-length", "10")), before=GREETING),
    Case(
        "8.1.1",
        "a content-length over two frames",
        OK,
        headers(1, block(("content-length", "10"))) + data(1, b"\0\0") + data(1, b"\0\0\5hello", end=True),
        before=GREETING,
    ),
    Case("8.1.1", "a call after a malformed one", OK, no_content),
    malformed("8.2.1", "a name with a capital", field("X-a", "1")),
    malformed(
        "8.2.1",
        "a name with a capital, in trailers",
        headers(1, block()) + BODY + headers(1, literal(b"X-a", b"1"), end=True),
    ),
    malformed("8.2.1", "an empty name", field("", "1")),
    malformed("8.2.1", "a name with a space", field("x a", "1")),
    malformed("8.2.1", "a name with a colon", field("x:a", "1")),
    malformed("8.2.1", "a name that is not ASCII", field("x-ä", "1")),
    malformed("8.2.1", "a value with a zero", field("x-a", "a\0b")),
    malformed("8.2.1", "a value with a carriage return", field("x-a", "a\rb")),
    malformed("8.2.1", "a value with a line feed", field("x-a", "a\nb")),
    malformed("8.2.1", "a value that begins with a space", field("x-a", " b")),
    Case("8.2.1", "a value that is UTF-8", OK, field("x-a", "wörd"), before=GREETING),
    *(malformed("8.2.2", f"a field of HTTP/1.1's: {name!s}", field(name, value)) for name, value in UPGRADE),
    malformed("8.2.2", "te with more than trailers", call(te="gzip")),
    Case("8.2.3", "cookies in two fields", OK, call(("cookie", "a=b"), ("cookie", "c=d")), before=GREETING),
    malformed("8.3", "an unknown pseudo-field", call(first=[(":unknown", "x")])),
    malformed("8.3", "a response's pseudo-field", call(first=[(":status", "200")])),
    malformed("8.3", "a pseudo-field after another field", call((":authority", "here"), authority=None)),
    malformed("8.3.1", "no :method", call(method=None)),
    malformed("8.3.1", "no :scheme", call(scheme=None)),
    malformed("8.3.1", "no :path", call(path=None)),
    malformed("8.3.1", "an empty :path", call(path="")),
    malformed("8.3.1", "two of :method", call(first=[(":method", "POST")])),
    malformed("8.3.1", "two of :scheme", call(first=[(":scheme", "http")])),
    malformed("8.3.1", "two of :path", call(first=[(":path", "/test.Fake/Echo")])),
    malformed("8.3.1", "two of :authority", call(first=[(":authority", "here")])),
    Case("8.3.1", "no :authority", OK, call(authority=None), before=GREETING),
    Case("8.3.1", "host and no :authority", OK, call(("host", "here"), authority=None), before=GREETING),
    Case("8.3.1", "several addresses as :authority", OK, call(authority="10.0.0.1:80,10.0.0.2:80"), before=GREETING),
    Case("8.3.1", "https, though there is no TLS", OK, call(scheme="https"), before=GREETING),
    malformed("8.5", "CONNECT with a :path", call(method="CONNECT")),
    Case(
        "8.4",
        "a client's PUSH_PROMISE",
        goaway("PROTOCOL_ERROR"),
        frame(frames.PUSH_PROMISE, 4, 1, b"\0\0\0\4" + LISTEN),
    ),
]
CHAPTER = Chapter("RFC 9113: HTTP/2, messages", tuple(sorted(CASES, key=lambda case: case.section)))
