"""What a call begins with: its method, metadata and timeout, out of the request's fields.

Equal header blocks share one `Head` (see `FieldDecoder`), so nobody may change it.
"""

from __future__ import annotations

import re
from typing import Final

from turnout_server.http2.fields import Field
from turnout_server.http2.requests import request_of
from turnout_server.transport.method import Method, Methods
from turnout_server.transport.native import answers

_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT: Final = re.compile("([0-9]{1,8})([HMSmun])", re.ASCII)
_OURS: Final = frozenset(
    {"te", "content-type", "content-length", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "host"}
)
"""Fields that belong to the transport."""
_ENCODINGS: Final = frozenset({"identity", "deflate", "gzip"})


class Head:
    """What a call begins with."""

    __slots__ = ("encoding", "length", "metadata", "method", "refusal", "timeout")

    def __init__(
        self, method: Method | None, metadata: dict[str, str], timeout: float | None, encoding: str, length: int
    ) -> None:
        self.method = method
        """None for a head that is refused."""
        self.metadata = metadata
        """The caller's, as `Call.metadata` has it."""
        self.timeout = timeout
        """How long the caller waits, in seconds; None for forever."""
        self.encoding = encoding
        """How messages that say so are compressed."""
        self.length = length
        """How many bytes of body were announced; -1 for none."""
        self.refusal = b""
        """The header block that answers the call, where the head alone says how; else empty."""


def head_of(fields: list[Field], methods: Methods) -> Head:
    """Return the head that *fields* make.

    Raises:
        StreamFailure: they are malformed, as HTTP/2 has it.
    """
    http_method, path, headers, length = request_of(fields)
    metadata = {name: value for name, value in headers.items() if name not in _OURS and name[-4:] != "-bin"}
    encoding = headers.get("grpc-encoding", "identity")
    timeout = _timeout(headers.get("grpc-timeout"))
    head = Head(methods.get(path[1:]), metadata, timeout, encoding, length)
    if http_method != "POST":
        head.refusal = answers.NOT_POST
    elif not _is_grpc(headers.get("content-type", "")):
        head.refusal = answers.NOT_GRPC
    elif head.method is None:
        head.refusal = answers.UNKNOWN_METHOD
    elif encoding not in _ENCODINGS:
        head.refusal = answers.UNKNOWN_ENCODING
    elif timeout is not None and timeout < 0:
        head.refusal = answers.BAD_TIMEOUT
    return head


def _is_grpc(content_type: str) -> bool:
    """Say whether a content type is `application/grpc`, or that with a kind of message (`+proto`) or a parameter."""
    return content_type[:16] == "application/grpc" and content_type[16:17] in ("", "+", ";")


def _timeout(text: str | None) -> float | None:
    """Return seconds; a negative number for what is no timeout."""
    if text is None:
        return None
    found = _TIMEOUT.fullmatch(text)
    return int(found[1]) * _UNITS[found[2]] if found else -1.0
