"""What a request's fields say (RFC 9113, section 8.3.1), and which lists of fields are malformed."""

from __future__ import annotations

from typing import NamedTuple

from turnout_server.http2.codes import ErrorCode, StreamFailure
from turnout_server.http2.fields import Field

_OF_CONNECTIONS = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
"""Fields that HTTP/1.1 has for its connections; here they are malformed (section 8.2.2)."""


class Request(NamedTuple):
    """What a request begins with."""

    method: str
    path: str
    headers: dict[str, str]
    """By name; of several values, the last."""
    length: int
    """How long the body is said to be, in bytes; -1 when it is not said."""


def request_of(fields: list[Field]) -> Request:
    """Return the request that *fields* make.

    Raises:
        StreamFailure: they are malformed.
    """
    pseudo: dict[str, str] = {}
    headers: dict[str, str] = {}
    for name, value in fields:
        if name[:1] == ":":
            if headers or name in pseudo:
                raise _malformed(f"{name} twice, or after a field")
            pseudo[name] = value
        else:
            headers[name] = value
    if "" in headers:
        raise _malformed("a name or value with characters that must not be in it")
    if not _OF_CONNECTIONS.isdisjoint(headers) or headers.get("te", "trailers") != "trailers":
        raise _malformed("a field that is for HTTP/1.1's connections")
    method, path = pseudo.pop(":method", ""), pseudo.pop(":path", "")
    scheme = pseudo.pop(":scheme", "")
    pseudo.pop(":authority", None)
    if pseudo or not method or not path or not scheme:
        raise _malformed(":method, :scheme or :path is not there, or an unknown one is")
    return Request(method, path, headers, _length(headers))


def check_trailers(fields: list[Field] | None) -> None:
    """See that *fields* may stand after a request's body; None for more of them than allowed.

    Raises:
        StreamFailure: they are malformed, or too many.
    """
    if fields is None:
        raise StreamFailure(ErrorCode.ENHANCE_YOUR_CALM, "trailers larger than allowed")
    if any(not name or name[0] == ":" for name, _ in fields):
        raise StreamFailure(ErrorCode.PROTOCOL_ERROR, "malformed trailers")


def _length(headers: dict[str, str]) -> int:
    text = headers.get("content-length")
    if text is None:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise _malformed("content-length is not a number")
    return int(text)


def _malformed(problem: str) -> StreamFailure:
    return StreamFailure(ErrorCode.PROTOCOL_ERROR, f"malformed request: {problem}")
