"""A small HTTP server for a few readers of text, bounded in all that a client could take of it.

One thread has all connections, and of those there are `MOST_CONNECTIONS`: who comes beyond takes the place of whoever
has been idle, or slow, the longest. So nobody can take the process's files or threads by scraping, and nobody can keep
others from it for long. And nothing that one of them does ends the others' connections, or the thread.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress

import structlog

from turnout_server.telemetry.http_text import NOTHING, Answer, Asked, Request, parsed, plain, text_of

_log = structlog.get_logger("turnout.metrics")

MOST_CONNECTIONS = 16
"""How many clients there are at once. Each takes a file of the process, and the server itself takes four more."""
MOST_REQUEST_BYTES = 16 * 1024
"""How long a request's head may be."""
REQUEST_S = 10.0
"""How long a client may take to send its request, in seconds, and how long to read the answer."""
IDLE_S = 120.0
"""How long a connection is kept for the next request, in seconds."""
REST = 3.0
"""How many times as long as making an answer computed the next one waits: they take a quarter of a core at most."""
LIGHT_EVERY_S = 0.05
"""How often one connection gets a light answer at once, in seconds; asked sooner, it waits among the others."""
_CHUNK_BYTES = 64 * 1024
_BREATH_S = 0.5
"""How long nobody is let in where the process has no file left."""


Answerer = Callable[[Request], Answer]


class _Connection:
    """A client, and what it is at."""

    def __init__(self, sock: socket.socket, now: float) -> None:
        self.socket = sock
        self.received = bytearray()
        self.to_send = memoryview(b"")
        self.asked: Asked = NOTHING
        """Its last complete request."""
        self.is_waiting = False
        """Whether it has asked, and waits for the answer to be made."""
        self.light_from = now
        """When it may have the next light answer at once."""
        self.is_idle = False
        self.is_last = False
        """Whether it is to be closed when all is sent."""
        self.awaited = 0
        """The events that are heeded."""
        self.since = now
        """When it began what it is at."""
        self.ends = now + REQUEST_S


class HttpServer:
    """Serves from the thread that calls `run`."""

    def __init__(self, listener: socket.socket, answer: Answerer, light: Collection[str] = ()) -> None:
        """Serve on *listener*, which is this object's from now on.

        Args:
            listener: listens already.
            answer: makes the answers; what it raises becomes a 500.
            light: the paths whose answers cost next to nothing. They wait for no other's answer, apart from one that
                is just being made, and for no rest: who asks whether the process lives may ask for a second only.
        """
        listener.setblocking(False)
        self._listener = listener
        self._answer = answer
        self._light = frozenset(light)
        self._waker, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._connections: dict[socket.socket, _Connection] = {}
        self._waiting: deque[_Connection] = deque()
        self._rests_until = 0.0
        self._listens_from = 0.0
        self._is_listening = True

    def stop(self) -> None:
        """Have `run` return; on any thread."""
        self._waker.send(b"x")

    def run(self) -> None:
        """Serve until `stop`, and then let go of everything."""
        try:
            while self._turn():
                pass
        finally:
            for connection in list(self._connections.values()):
                self._close(connection)
            self._selector.close()
            for each in (self._listener, self._waker, self._woken):
                each.close()

    def _turn(self) -> bool:
        for key, events in self._selector.select(self._timeout(time.monotonic())):
            if key.fileobj is self._woken:
                return False
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj in self._connections:  # else it has just been closed
                self._serve(self._connections[key.fileobj], events)
        now = time.monotonic()
        for connection in [one for one in self._connections.values() if one.ends <= now]:
            self._close(connection)
        if not self._is_listening and now >= self._listens_from:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._is_listening = True
        if self._waiting and now >= self._rests_until:
            self._make_next()
        return True

    def _timeout(self, now: float) -> float | None:
        due = [one.ends for one in self._connections.values()]
        if self._waiting:
            due.append(self._rests_until)
        if not self._is_listening:
            due.append(self._listens_from)
        return max(min(due) - now, 0.0) if due else None

    # ------------------------------------------------------------ connections

    def _accept(self) -> None:
        now = time.monotonic()
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            _log.warning("no more readers of metrics are let in for now", problem=error.strerror)
            self._selector.unregister(self._listener)
            self._is_listening, self._listens_from = False, now + _BREATH_S
            return
        if len(self._connections) >= MOST_CONNECTIONS:
            self._close(min(self._connections.values(), key=lambda one: (not one.is_idle, one.since)))
        sock.setblocking(False)
        self._connections[sock] = connection = _Connection(sock, now)
        try:
            self._await(connection, selectors.EVENT_READ)
        except OSError:  # the kernel watches no more
            self._close(connection)

    def _close(self, connection: _Connection) -> None:
        """Let go of a connection; of one that is gone already, nothing is left to do."""
        if self._connections.pop(connection.socket, None) is None:
            return
        if connection.is_waiting:
            connection.is_waiting = False
            self._waiting.remove(connection)
        connection.to_send = memoryview(b"")  # who has called this may be about to send more
        self._await(connection, 0)
        connection.socket.close()

    def _serve(self, connection: _Connection, events: int) -> None:
        """Go on with a connection; whatever that raises ends this one only."""
        try:
            if events & selectors.EVENT_READ and not self._receive(connection):
                self._close(connection)
                return
            if connection.to_send:
                self._send(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
        except Exception:
            _log.exception("a reader of metrics is hung up on")
            self._close(connection)

    def _receive(self, connection: _Connection) -> bool:
        """Take what has come; return False where nothing more will."""
        came = connection.socket.recv(MOST_REQUEST_BYTES)
        if not came:
            return False
        if connection.is_idle:
            connection.is_idle = False
            self._begin(connection, REQUEST_S)
        connection.received += came
        self._look(connection)
        return True

    def _look(self, connection: _Connection) -> None:
        """See whether a request is complete."""
        head, end, rest = bytes(connection.received).partition(b"\r\n\r\n")
        if end:
            connection.received = bytearray(rest)
            connection.asked = parsed(head)
            if self._is_light(connection):
                self._reply(connection)
                return
            connection.is_waiting = True
            self._begin(connection, REQUEST_S)
            self._waiting.append(connection)
            self._await(connection, 0)  # so that nobody can send more while it waits
        elif len(connection.received) >= MOST_REQUEST_BYTES:
            connection.received.clear()
            self._tell(connection, plain("431 Request Header Fields Too Large"), is_last=True)

    def _is_light(self, connection: _Connection) -> bool:
        request, now = connection.asked.request, time.monotonic()
        if request is None or request.path not in self._light or now < connection.light_from:
            return False
        connection.light_from = now + LIGHT_EVERY_S
        return True

    def _begin(self, connection: _Connection, within_s: float) -> None:
        connection.since = time.monotonic()
        connection.ends = connection.since + within_s

    # ------------------------------------------------------------ answers

    def _make_next(self) -> None:
        connection = self._waiting.popleft()
        connection.is_waiting = False
        began = time.thread_time()
        try:
            self._reply(connection)
        except Exception:
            _log.exception("a reader of metrics is hung up on")
            self._close(connection)
        # By what it computed: where others take the cores, the rest would last until those that wait are hung up on.
        self._rests_until = time.monotonic() + REST * (time.thread_time() - began)

    def _reply(self, connection: _Connection) -> None:
        """Make the answer to what a connection has asked, and begin to send it."""
        request, is_last, method = connection.asked
        if request is None:
            self._tell(connection, plain("400 Bad Request"), is_last=True)
        elif method not in ("GET", "HEAD"):
            self._tell(connection, plain("405 Method Not Allowed"), is_last=True)
        else:
            self._tell(connection, self._made(request), is_last=is_last, head_only=method == "HEAD")

    def _made(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except Exception:
            _log.exception("a request for metrics failed")
            return plain("500 Internal Server Error")

    def _tell(self, connection: _Connection, answer: Answer, *, is_last: bool, head_only: bool = False) -> None:
        connection.to_send = memoryview(text_of(answer, is_last=is_last, head_only=head_only))
        connection.is_last = is_last
        self._begin(connection, REQUEST_S)
        self._await(connection, selectors.EVENT_WRITE)
        self._serve(connection, selectors.EVENT_WRITE)

    def _send(self, connection: _Connection) -> None:
        while connection.to_send:
            sent = connection.socket.send(connection.to_send[:_CHUNK_BYTES])
            connection.to_send = connection.to_send[sent:]
        if connection.is_last:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_WR)
            self._close(connection)
            return
        connection.is_idle = not connection.received
        self._begin(connection, IDLE_S if connection.is_idle else REQUEST_S)
        self._await(connection, selectors.EVENT_READ)
        self._look(connection)

    def _await(self, connection: _Connection, events: int) -> None:
        """Have the next turns heed these *events* of a connection; 0 for none."""
        if events == connection.awaited:
            return
        if not events:
            self._selector.unregister(connection.socket)
        elif not connection.awaited:
            self._selector.register(connection.socket, events)
        else:
            self._selector.modify(connection.socket, events)
        connection.awaited = events
