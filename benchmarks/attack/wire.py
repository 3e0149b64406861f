"""What attackers send: each attack is what one connection says, and how often."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    frame,
    rst_stream,
    settings,
    window_update,
)

INFER = b"/inference.GRPCInferenceService/ModelInfer"
STREAM = b"/inference.GRPCInferenceService/ModelStreamInfer"
WATCH = b"/grpc.health.v1.Health/Watch"
MODELS = b"/turnout.v1.ModelService/ListModels"
NOWHERE = b"/nobody.Knows/This"
OPENING = PREFACE + settings([(4, 2**31 - 1)])
STREAMS = range(1, 2 * 256, 2)
MOST = 2**31 - 1


class Attack(NamedTuple):
    """What each of an attack's connections says."""

    connections: int
    once: bytes
    """At its beginning."""
    again: bytes = b""
    """As often as `every_s` and the socket allow."""
    every_s: float = 0.0
    anew: bool = False
    """Whether `again` has to begin with the next streams: 4 bytes `STRM` stand for each stream's number."""
    brief: bool = False
    """Whether the connection is over when `once` was said, and another one is opened in its place."""


def block(path: bytes) -> bytes:
    """Return a call's header block, which builds on none before it."""
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b"te", b"trailers")]
    fields.append((b"content-type", b"application/grpc"))
    return b"".join(_literal(name, value) for name, value in fields)


def _literal(name: bytes, value: bytes) -> bytes:
    return bytes((0, len(name))) + name + bytes((len(value),)) + value


def head(stream: int, path: bytes, flags: int = END_HEADERS, more: bytes = b"") -> bytes:
    """Return HEADERS."""
    return frame(HEADERS, flags, stream, block(path) + more)


def _strm(raw: bytes) -> bytes:
    return raw[:5] + b"STRM" + raw[9:]


def _each(one: bytes, count: int = 100) -> bytes:
    return one * count


NO_BODY = END_HEADERS | END_STREAM
SILENT = b"".join(head(number, STREAM) for number in STREAMS[:250])
ATTACKS = {
    "silent streams": Attack(400, SILENT),
    "watches": Attack(
        400, b"".join(head(number, WATCH) + frame(DATA, 1, number, bytes(5)) for number in STREAMS[:250])
    ),
    "unfinished requests": Attack(400, head(1, INFER)),
    "half messages": Attack(400, head(1, INFER) + frame(DATA, 0, 1, b"\0\0\1\0\0" + bytes(60_000))),
    "unfinished header blocks": Attack(400, frame(HEADERS, 0, 1, block(INFER))),
    "3,300 literals a block": Attack(
        400, b"", _each(_strm(head(1, NOWHERE, NO_BODY, b"\0\1a\0" * 3_300)), 8), anew=True
    ),
    "3,300 literals a block, 0.4 MB/s": Attack(
        1, b"", _each(_strm(head(1, NOWHERE, NO_BODY, b"\0\1a\0" * 3_300)), 3), 0.1, anew=True
    ),
    "table-size updates": Attack(
        400, b"", _each(_strm(frame(HEADERS, NO_BODY, 1, b"\x20" * 16_000 + block(NOWHERE))), 8), anew=True
    ),
    "empty messages": Attack(1, head(1, STREAM), frame(DATA, 0, 1, bytes(16_000)) * 16, 1.0),
    "empty messages, everywhere": Attack(400, head(1, STREAM), frame(DATA, 0, 1, bytes(16_000)) * 16, 1.0),
    "WINDOW_UPDATE": Attack(400, b"", _each(window_update(0, 1), 5_000)),
    "PING": Attack(400, b"", _each(frame(PING, 0, 0, bytes(8)), 5_000)),
    "SETTINGS": Attack(400, b"", _each(settings([]), 5_000)),
    "PRIORITY": Attack(400, b"", _each(frame(PRIORITY, 0, 1, b"\0\0\0\0\1"), 5_000)),
    "refused streams": Attack(
        400, b"".join(head(number, STREAM) for number in STREAMS), _each(_strm(head(1, STREAM)), 500), anew=True
    ),
    "small DATA": Attack(
        400, head(1, INFER) + frame(DATA, 0, 1, b"\0\0\x80\0\0"), _each(frame(DATA, 0, 1, b"x"), 5_000)
    ),
    "rapid reset": Attack(400, b"", _each(_strm(head(1, INFER)) + _strm(rst_stream(1, 8)), 200), anew=True),
    "rapid reset of whole calls": Attack(
        400,
        b"",
        _each(_strm(head(1, WATCH)) + _strm(frame(DATA, 1, 1, bytes(5))) + _strm(rst_stream(1, 8)), 100),
        anew=True,
    ),
    "calls that Python answers": Attack(
        400, b"", _each(_strm(head(1, MODELS)) + _strm(frame(DATA, 1, 1, bytes(5))), 50), anew=True
    ),
    "connections that come and go": Attack(400, head(1, INFER), brief=True),
    "continuations": Attack(400, frame(HEADERS, 0, 1, block(INFER)), _each(frame(CONTINUATION, 0, 1, b""), 5_000)),
}


def numbered(raw: bytes, first: int) -> tuple[bytes, int]:
    """Return `raw` with the next streams' numbers in it, and the number after them. A call's frames share one."""
    begin, *rest = raw.split(b"STRM")
    out, stream = [begin], first - 2
    for piece in rest:
        if out[-1][-2] == HEADERS:
            stream += 2
        out.append(stream.to_bytes(4, "big") + piece)
    return b"".join(out), stream + 2
