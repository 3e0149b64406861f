"""Whom a client connects to: gRPC's names as they are, and the URLs that people write in their stead."""

from __future__ import annotations

from urllib.parse import urlsplit

_PLAIN = ("http", "grpc", "tcp")
_TLS = ("https", "grpcs")


def resolve(target: str, *, secure: bool) -> str:
    """Return *target* as gRPC takes it: `http://host:8001` and `grpc://host:8001` are `host:8001`.

    Args:
        target: the address.
        secure: whether there are credentials, without which all is plain text.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or a URL that gRPC cannot go to.
    """
    if not isinstance(target, str):
        raise TypeError(f"target must be an address such as '127.0.0.1:8001'; found {target!r}")
    if not target.strip():
        raise ValueError("target is empty; it must be an address such as '127.0.0.1:8001'")
    scheme, separator, _ = target.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in (*_PLAIN, *_TLS):
        return target
    if scheme in _TLS and not secure:
        raise ValueError(
            f"target {target!r} asks for TLS, which credentials make: "
            f"Client({_address(target)!r}, credentials=grpc.ssl_channel_credentials())"
        )
    if scheme == "http" and secure:
        raise ValueError(f"target {target!r} asks for plain text, and credentials for TLS; give {_address(target)!r}")
    return _address(target)


def _address(target: str) -> str:
    """Return `host:port` of a URL.

    Raises:
        ValueError: it has more than that, or less.
    """
    url = urlsplit(target)
    try:
        port = url.port
    except ValueError:
        port = None
    if not url.hostname or port is None:
        raise ValueError(f"target {target!r} has no host and port; expected one such as '127.0.0.1:8001'")
    if url.username is not None or url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError(f"target has more than a host and a port; expected {url.hostname}:{port}")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{host}:{port}"
