"""Who reads metrics takes a bounded part of the process, whatever they do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from turnout_server.telemetry import http
from turnout_server.telemetry.http import MOST_CONNECTIONS, MOST_REQUEST_BYTES, Answer, HttpServer, Request

PATIENCE_S = 30
GET = b"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = b"x" * (8 << 20)
"""More than a socket takes of its own."""


def answer(request: Request) -> Answer:
    if request.path == "/broken":
        raise ValueError
    body = LONG if request.path == "/long" else f"{request.path} {request.query}".encode()
    return Answer("200 OK", (("X-Accept", request.headers.get("accept", "")),), body)


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    place = listener.getsockname()
    server = HttpServer(listener, answer)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield place
    server.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, PATIENCE_S)


def read_answer(client: socket.socket) -> tuple[bytes, bytes]:
    """Return head and body of one answer."""
    with client.makefile("rb") as reader:
        lines = list(iter(reader.readline, b"\r\n"))
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"Content-Length"))
        return b"".join(lines), reader.read(length)


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_connection_is_kept_for_the_next_request(address: tuple[str, int]) -> None:
    with connect(address) as client:
        for _ in range(3):
            client.sendall(GET)
            head, body = read_answer(client)
            assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 200 OK", b"/metrics a=b")


def test_requests_that_come_at_once_are_answered_one_after_the_other(address: tuple[str, int]) -> None:
    with connect(address) as client:
        client.sendall(GET + b"GET / HTTP/1.1\r\nAccept: me\r\nConnection: close\r\n\r\n")
        said = b"".join(iter(lambda: client.recv(4096), b""))
    assert said.index(b"/metrics a=b") < said.index(b"X-Accept: me")
    assert said.endswith(b"/ ")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /" + b"a" * MOST_REQUEST_BYTES, b"431"),
        (b"GET /broken HTTP/1.0\r\n\r\n", b"500"),
    ],
)
def test_what_cannot_be_answered_is_told_so(address: tuple[str, int], request_: bytes, status: bytes) -> None:
    with connect(address) as client:
        client.sendall(request_)
        assert read_answer(client)[0].split(b" ")[1] == status


@pytest.mark.parametrize("said", [b"", b"GET /met", b"GET /long HTTP/1.1\r\n\r\n"])
def test_many_who_are_slow_take_few_files_and_keep_nobody_out(address: tuple[str, int], said: bytes) -> None:
    before = files()
    clients = []
    try:
        for _ in range(10 * MOST_CONNECTIONS):
            client = connect(address)
            clients.append(client)
            with contextlib.suppress(OSError):  # its place was taken already
                client.sendall(said)
        with connect(address) as other:
            other.sendall(GET)
            assert read_answer(other)[1] == b"/metrics a=b"
            assert files() - before - len(clients) <= MOST_CONNECTIONS + 1
    finally:
        for client in clients:
            client.close()


def test_the_idle_make_room_before_those_who_wait_for_an_answer(address: tuple[str, int]) -> None:
    with connect(address) as busy:
        busy.sendall(b"GET /met")
        clients = []
        for _ in range(3 * MOST_CONNECTIONS):
            clients.append(connect(address))
            clients[-1].sendall(GET)
            read_answer(clients[-1])
        busy.sendall(b"rics HTTP/1.1\r\n\r\n")
        assert read_answer(busy)[1] == b"/metrics "
        for client in clients:
            client.close()


@pytest.mark.parametrize("said", [b"", b"GET /met", b"GET /long HTTP/1.1\r\n\r\n"])
def test_who_does_not_get_on_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, address: tuple[str, int], said: bytes
) -> None:
    monkeypatch.setattr(http, "REQUEST_S", 0.05)
    before = files()
    with connect(address) as client:
        client.sendall(said)
        ends = time.monotonic() + PATIENCE_S
        while files() > before + 1:  # the client's own
            assert time.monotonic() < ends
            threading.Event().wait(0.01)


def test_a_process_without_files_lets_nobody_in_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(socket.socket):
        left = 1

        def accept(self) -> tuple[socket.socket, object]:
            if self.left:
                self.left -= 1
                raise OSError(24, "Too many open files")
            return super().accept()

    monkeypatch.setattr(http, "_BREATH_S", 0.01)
    listener = Full()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    place = listener.getsockname()
    server = HttpServer(listener, answer)
    thread = threading.Thread(target=server.run)
    thread.start()
    with connect(place) as client:
        client.sendall(GET)
        assert read_answer(client)[1] == b"/metrics a=b"
    server.stop()
    thread.join(PATIENCE_S)
