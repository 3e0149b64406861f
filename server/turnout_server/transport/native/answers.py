"""What a server says in header blocks: constants for what goes well, and statuses for what does not.

Everything is a literal that is put into nobody's table (RFC 7541, section 6.2.2): what is sent then depends on nothing
that was sent before, and most of it is the same bytes every time.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from urllib.parse import quote

import grpc

from turnout_server.transport.status import Status

ACCEPTED = "identity,deflate,gzip"
"""How requests may be compressed."""
_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_KEPT = 512
"""Statuses that are encoded once: refusals come by the thousand, and are alike."""
_OK = b"\x88"
"""`:status: 200`, an entry of the static table."""


def _text(text: bytes) -> bytes:
    """Return a string (section 5.2): its length, in seven bits and as many more bytes as that takes, and itself."""
    length = len(text)
    if length < 0x7F:
        return bytes((length,)) + text
    coded = bytearray((0x7F,))
    length -= 0x7F
    while length >= 0x80:
        coded.append(length & 0x7F | 0x80)
        length >>= 7
    coded.append(length)
    return bytes(coded) + text


def field(name: str, value: str) -> bytes:
    """Return one field, as a literal."""
    return b"\x00" + _text(name.encode("ascii")) + _text(value.encode("latin-1"))


HEADERS = _OK + field("content-type", "application/grpc")
"""What stands before an answer."""
TRAILERS = field("grpc-status", "0")
"""What stands after one."""
NOT_GRPC = field(":status", "415")
"""For a content type that is not gRPC's."""
NOT_POST = field(":status", "405") + field("allow", "POST")
"""For another method than POST."""


def status_fields(status: Status) -> bytes:
    """Return the trailers that tell of *status*. Messages are percent-encoded, binary values are in base64."""
    fields = [field("grpc-status", str(status.code.value[0]))]
    if status.message:
        fields.append(field("grpc-message", quote(status.message, safe=_SAFE)))
    for name, value in status.trailers:
        text = value if isinstance(value, str) else base64.b64encode(value).rstrip(b"=").decode()
        fields.append(field(name, text))
    return b"".join(fields)


@lru_cache(_KEPT)
def only_status(status: Status) -> bytes:
    """Return headers and trailers in one, for a call that has no answer ("Trailers-Only")."""
    return HEADERS + status_fields(status)


UNKNOWN_ENCODING = only_status(Status(grpc.StatusCode.UNIMPLEMENTED, "unknown grpc-encoding", ())) + field(
    "grpc-accept-encoding", ACCEPTED
)
UNKNOWN_METHOD = only_status(Status(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", ()))
BAD_TIMEOUT = only_status(Status(grpc.StatusCode.INTERNAL, "malformed grpc-timeout", ()))
TOO_MANY_FIELDS = only_status(Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "the metadata is larger than allowed", ()))
EXPIRED = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ())
GOING = Status(grpc.StatusCode.UNAVAILABLE, "the server is shutting down", ())
CROWDED = Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "answers wait to be read; take them before asking for more", ())
NOT_ONE_MESSAGE = Status(grpc.StatusCode.UNIMPLEMENTED, "the method takes exactly one message", ())
TRUNCATED = Status(grpc.StatusCode.INTERNAL, "the request ends within a message", ())
