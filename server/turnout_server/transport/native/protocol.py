"""A client's connection on the event loop: bytes from the socket to the `Peer`, and back in one write a turn."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, cast

import structlog

from turnout_server.config import format_address
from turnout_server.http2.codes import ErrorCode
from turnout_server.transport.native.connections import Connections
from turnout_server.transport.native.peer import Peer

if TYPE_CHECKING:
    from turnout_server.transport.native.service import Service

_log = structlog.get_logger("turnout.rpc")
PREFACE_S: Final = 20.0
"""How long a client may take to say that it speaks HTTP/2, in seconds."""
LAST_WORDS_S: Final = 2.0
"""How long a client may take to read our last words, in seconds."""
_KEEPALIVE: Final = (
    ("TCP_KEEPIDLE", 60),
    ("TCP_KEEPINTVL", 20),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 120_000),
)
"""Clients that vanish without a word are found out, in two minutes. So are those that read nothing for so long: HTTP/2
has windows for a client that wants less, and what it does not read, it leaves with us."""


class ServerProtocol(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, service: Service, everyone: Connections[ServerProtocol]) -> None:
        """Make the protocol of a new connection of *service*'s; it is among *everyone* while it lasts."""
        self.peer = Peer(service)
        self._loop = service.loop
        self._everyone = everyone
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._behind = False
        self._ending = False
        self._catching_up: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ what the event loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._everyone.add(self):
            self._transport.abort()
            return
        address = transport.get_extra_info("peername")  # None for a client that has gone already
        if address:
            self.peer.address = format_address(*address[:2])
        _tune(transport.get_extra_info("socket"))
        self._timer = self._loop.call_later(PREFACE_S, self._too_slow)
        self.peer.on_output = self._flush_soon  # our SETTINGS wait for its first bytes, which may not be HTTP/2

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._ending:
            return  # they are only read so that what we said last is not lost with them
        peer = self.peer
        peer.corked = True
        try:
            behind = peer.receive(data)
        except Exception:
            _log.exception("connection failed")
            behind = False
            peer.end(ErrorCode.INTERNAL_ERROR)
        if self._timer is not None and peer.ready:
            self._timer.cancel()
            self._timer = None
        self._flush()
        if behind or self._behind:
            self._behind = behind
            self._pace()

    def pause_writing(self) -> None:
        """The client does not read as fast as we write: nothing more is taken from it until it does."""
        self.peer.paused = True
        self._pace()

    def resume_writing(self) -> None:
        """The client has read."""
        self.peer.go_on()
        self._pace()

    def eof_received(self) -> bool:
        """The client sends no more, which no client of HTTP/2 does before it is done."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The client has gone."""
        self._everyone.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self.peer.corked = True  # nothing is sent any more
        self.peer.paused = False
        self.peer.lose_everything()
        self.peer.go_on()

    # ------------------------------------------------------------ what we do

    @property
    def begun(self) -> bool:
        """Whether the client has said that it speaks HTTP/2."""
        return self.peer.ready

    @property
    def idle(self) -> bool:
        """Whether the client has no call in progress."""
        return not self.peer.streams and not self.peer.lingering

    @property
    def sending(self) -> bool:
        """Whether answers wait for the client to read."""
        return bool(self.peer.unsent or self._transport.get_write_buffer_size())

    def announce_end(self) -> None:
        """Tell the client to go elsewhere with new calls."""
        self.peer.announce_end()

    def cancel_calls(self) -> None:
        """End every call that is still in progress."""
        self.peer.cancel_calls()

    def end(self) -> None:
        """End every call, and the connection."""
        self.peer.cancel_calls()
        self.peer.end()
        self._flush()

    def abort(self) -> None:
        """End the connection without waiting for the client to read what was sent."""
        self._transport.abort()

    def _flush_soon(self) -> None:
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what is to be sent."""
        peer = self.peer
        out = peer.take()
        if self._transport.is_closing():
            return
        peer.corked = False
        if out:
            self._transport.write(b"".join(out))
        if peer.closed:
            peer.corked = True
            if peer.failure is not None:
                _log.debug("client broke a rule", code=peer.failure.code.name, problem=peer.failure.text)
            self._end()

    def _end(self) -> None:
        """Say no more, and let the client read: a socket that is closed with bytes unread loses what it has sent."""
        if self._ending:
            return
        self._ending = True
        try:
            self._transport.write_eof()
            self._transport.resume_reading()
        except (OSError, RuntimeError):  # the client has gone already
            self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LAST_WORDS_S, self._transport.abort)

    def _pace(self) -> None:
        """Read from the client, or not; what was read and not taken has its turn once others had theirs."""
        if self._transport.is_closing() or self._ending:
            return
        if self.peer.paused or self._behind:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
        if self._behind and not self.peer.paused and self._catching_up is None:
            self._catching_up = self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        self._catching_up = None
        if not self.peer.closed and not self.peer.paused:  # else `resume_writing` goes on
            self.data_received(b"")

    def _too_slow(self) -> None:
        self._timer = None
        self._transport.abort()


def _tune(connection: socket.socket | None) -> None:
    if connection is None:
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
