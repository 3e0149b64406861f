"""RFC 7541: header compression."""

from __future__ import annotations

import hpack

from benchmarks.frames import HEADER_TABLE_SIZE, settings
from tests.conformance.case import GREETING, OK, Case, Chapter, goaway
from tests.conformance.fields import ECHO, block
from tests.conformance.visit import Visit
from tests.transport.raw import data, headers, literal
from tests.transport.socket_wire import prefixed

BROKEN = goaway("COMPRESSION_ERROR")
KEPT, NEVER = 0x40, 0x10


def whole(block: bytes, stream: int = 1) -> bytes:
    return headers(stream, block) + data(stream, prefixed(b"hello"), end=True)


def encoded(huffman: bool) -> bytes:
    """Return a call twice, as encoders do it: the second time, its fields are in the table."""
    encoder = hpack.Encoder()
    fields = [(":method", "POST"), (":scheme", "http"), (":path", ECHO), (":authority", "here")]
    fields += [("te", "trailers"), ("content-type", "application/grpc"), ("x-kept", "in the table")]
    return b"".join(whole(encoder.encode(fields, huffman=huffman), stream) for stream in (1, 3))


async def counts_when_refused(visit: Visit) -> str:
    """A call that is refused by its head changes the table all the same."""
    client = await visit.client(GREETING)
    refused = block(path="/test.Fake/Nothing") + literal(b"x-kept", b"in the table", KEPT)
    await client.say(headers(1, refused, end=True), whole(block() + b"\xbe", 3))
    return await visit.end(client, 3)


CASES = [
    Case("2.3.3", "a field that is in no table", BROKEN, headers(3, block() + b"\xff\x80\x01")),
    Case("2.3.3", "the name of a field that is in no table", BROKEN, headers(3, block() + b"\x7f\x80\x01\1x")),
    Case("3.2", "a call that is refused changes the table", OK, counts_when_refused),
    Case("4.2", "a table that changes after a field", BROKEN, headers(3, block() + b"\x20")),
    Case("4.2", "a table that changes twice before a field", OK, whole(b"\x20\x3f\xe1\x1f" + block()), before=GREETING),
    Case(
        "4.3",
        "a table of no bytes, and a field to keep in it",
        OK,
        whole(b"\x20" + block() + literal(b"x-a", b"b", KEPT)),
        before=GREETING,
    ),
    Case(
        "4.4",
        "a field larger than the table",
        OK,
        whole(block() + literal(b"x-a", b"v" * 5_000, KEPT)),
        before=GREETING,
    ),
    Case(
        "5.1",
        "a number in as many bytes as it takes",
        OK,
        whole(block() + literal(b"x-a", b"v" * 300)),
        before=GREETING,
    ),
    Case("5.1", "a number without end", BROKEN, headers(3, block() + b"\x00\x7f" + b"\xff" * 20)),
    Case("5.1", "a text longer than its block", BROKEN, headers(3, block() + b"\0\1x\x09short")),
    Case("5.2", "texts in Huffman's code", OK, encoded(True), before=GREETING, stream=3),
    Case("5.2", "texts as they are", OK, encoded(False), before=GREETING, stream=3),
    Case("5.2", "Huffman's end of string", BROKEN, headers(3, block() + b"\x00\x01x\x84\xff\xff\xff\xff")),
    Case("5.2", "Huffman padded with zeros", BROKEN, headers(3, block() + b"\x00\x01x\x81\x00")),
    Case("5.2", "Huffman padded by more than 7 bits", BROKEN, headers(3, block() + b"\x00\x01x\x82\x07\xff")),
    Case("6.1", "field 0", BROKEN, headers(3, b"\x80")),
    Case("6.1", "field 0, in trailers", BROKEN, headers(1, b"\x80", end=True)),
    Case("6.2.1", "a field that is kept, by the table's name", OK, whole(block() + b"\x7a\2me"), before=GREETING),
    Case(
        "6.2.1",
        "a field that is kept, by its own name",
        OK,
        whole(block() + literal(b"x-a", b"b", KEPT) + b"\xbe"),
        before=GREETING,
    ),
    Case(
        "6.2.2", "a field that is not kept, by the table's name", OK, whole(block() + b"\x0f\x2b\2me"), before=GREETING
    ),
    Case(
        "6.2.2",
        "a field that is not kept, by its own name",
        OK,
        whole(block() + literal(b"x-a", b"b")),
        before=GREETING,
    ),
    Case(
        "6.2.3",
        "a field that is never kept, by the table's name",
        OK,
        whole(block() + b"\x1f\x2b\2me"),
        before=GREETING,
    ),
    Case(
        "6.2.3",
        "a field that is never kept, by its own name",
        OK,
        whole(block() + literal(b"x-a", b"b", NEVER)),
        before=GREETING,
    ),
    Case("6.3", "a table of as many bytes as the server said", OK, whole(b"\x3f\xe1\x1f" + block()), before=GREETING),
    Case("6.3", "a table of more than the server said", BROKEN, headers(3, b"\x3f\xe2\x7f" + block())),
    Case(
        "6.5.2 of RFC 9113",
        "a client without a table",
        OK,
        settings([(HEADER_TABLE_SIZE, 0)]) + whole(block()),
        before=GREETING,
    ),
]
CHAPTER = Chapter("RFC 7541: header compression", tuple(CASES))
