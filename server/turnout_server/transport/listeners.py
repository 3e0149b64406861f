"""Sockets that listen, and how many connections there may be."""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import Final

from turnout_server.config import format_address
from turnout_server.vocabulary.errors import ConfigurationError

BACKLOG: Final = 1024
"""Connections that wait to be accepted, at most."""
_MOST_CONNECTIONS: Final = 10_000
_OTHER_FILES: Final = 256
"""File descriptors that connections leave to the rest of the server."""


def most_connections() -> int:
    """Return how many connections there may be, with as many files as this process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(max(files - _OTHER_FILES, files // 2), _MOST_CONNECTIONS)


async def listeners(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on every address of *host*, all on the same port; 0 picks one.

    Raises:
        ConfigurationError: one of them cannot be had.
    """
    try:
        return await _listeners(host, port)
    except OSError as error:
        address = format_address(host, port)
        raise ConfigurationError(
            f"cannot listen on {address}: is the port in use, or the host not this machine's?"
        ) from error


async def _listeners(host: str, port: int) -> list[socket.socket]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            listener = _bound(family, str(address[0]), port)
            listeners.append(listener)
            port = listener.getsockname()[1]
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _bound(family: int, host: str, port: int) -> socket.socket:
    """Return one socket that listens. The wildcard of IPv6 takes IPv4 too; no two servers share a port."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
