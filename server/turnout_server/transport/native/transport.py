"""Our own server: `transport: native`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

from turnout_server.config import LimitsConfig
from turnout_server.http2.server import Limits
from turnout_server.transport.listeners import BACKLOG, listeners, most_connections
from turnout_server.transport.method import Methods
from turnout_server.transport.native.connections import Connections
from turnout_server.transport.native.deadlines import Deadlines
from turnout_server.transport.native.protocol import ServerProtocol
from turnout_server.transport.native.service import Service

_IN_TRANSIT_S: Final = 0.05
"""What calls that are on their way get to arrive, and the server's goodbye to be read, in seconds."""
_LOOK_EVERY_S: Final = 0.005
_LAST_WORDS_S: Final = 0.2
"""What last answers get to be read, in seconds."""
_ANSWERS_S: Final = 5.0
"""What answers get that clients are still reading, in seconds."""


class NativeTransport:
    """A server of our own, with an orderly end."""

    def __init__(self, methods: Methods, limits: LimitsConfig) -> None:
        """Make a server that does not listen yet."""
        loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(loop, time.monotonic)
        self._service = Service(loop, methods, self._deadlines, limits.max_message_bytes, Limits())
        self._connections: Connections[ServerProtocol] = Connections(most_connections())
        self._servers: list[asyncio.Server] = []

    async def start(self, host: str, port: int) -> int:
        """Take calls on *host* and *port*, which may be 0; return the port.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        loop = self._service.loop
        sockets = await listeners(host, port)
        for listener in sockets:
            server = await loop.create_server(self._protocol, sock=listener, backlog=BACKLOG)
            self._servers.append(server)
        picked: int = sockets[0].getsockname()[1]
        return picked

    def _protocol(self) -> ServerProtocol:
        return ServerProtocol(self._service, self._connections)

    async def say_goodbye(self) -> None:
        """End a drained server: first tell every client to go elsewhere, and then end what is left (section 6.8).

        Calls that were on their way in that moment are still taken, and refused by name, so that no client has to
        wonder whether its call was carried out.
        """
        for server in self._servers:
            server.close()
        try:
            for connection in self._connections:
                connection.announce_end()
            await asyncio.sleep(_IN_TRANSIT_S)
            for connection in self._connections:
                connection.cancel_calls()
            await _until(lambda: not any(connection.sending for connection in self._connections), _ANSWERS_S)
        finally:
            for connection in self._connections:
                connection.end()
            self._deadlines.close()
        await _until(lambda: not self._connections, _LAST_WORDS_S)
        for connection in self._connections:
            connection.abort()
        await asyncio.sleep(0)  # in which the loop lets go of them


async def _until(done: Callable[[], bool], timeout_s: float) -> None:
    """Wait until *done*, for *timeout_s* at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not done():
                await asyncio.sleep(_LOOK_EVERY_S)
