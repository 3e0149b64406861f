"""Who reads metrics takes a bounded part of the process, whatever they do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from turnout_server.telemetry import http
from turnout_server.telemetry.http import MOST_CONNECTIONS, MOST_REQUEST_BYTES, HttpServer
from turnout_server.telemetry.http_text import Answer, Request

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


def serving(listener: socket.socket, light: tuple[str, ...] = ()) -> Iterator[HttpServer]:
    server = HttpServer(listener, answer, light)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.mark.parametrize("said", [b"x" * MOST_REQUEST_BYTES, GET, b"GET /light HTTP/1.1\r\n\r\n", b"GET /met"])
def test_who_is_gone_before_the_answer_takes_nobody_along(said: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    place = listener.getsockname()
    with connect(place) as rude:
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.sendall(said)
    # It was reset before anybody has let it in: what it said is read all the same, and no answer can be sent.
    with contextlib.contextmanager(serving)(listener, ("/light",)), connect(place) as client:
        client.sendall(GET)
        assert read_answer(client)[1] == b"/metrics a=b"


def test_what_one_connection_raises_ends_that_one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(socket.socket):
        def recv(self, *given: int) -> bytes:
            came = super().recv(*given)
            if b"odd" in came:
                raise RuntimeError("odd")
            return came

    class Listener(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            taken, place = super().accept()
            return Odd(fileno=taken.detach()), place

    listener = Listener()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    place = listener.getsockname()
    with contextlib.contextmanager(serving)(listener), connect(place) as odd, connect(place) as client:
        odd.sendall(b"odd")
        assert odd.recv(1) == b""
        client.sendall(GET)
        assert read_answer(client)[1] == b"/metrics a=b"


HEALTH = b"GET /healthz HTTP/1.1\r\n\r\n"


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A server that has made an answer, and rests for ever."""
    monkeypatch.setattr(http, "REST", 1e9)
    listener = socket.create_server(("127.0.0.1", 0))
    place = listener.getsockname()
    with contextlib.contextmanager(serving)(listener, ("/healthz",)), connect(place) as scraper:
        scraper.sendall(GET)
        read_answer(scraper)
        yield place


def test_the_rest_is_for_what_was_computed_and_not_for_how_long_others_had_the_cores(
    monkeypatch: pytest.MonkeyPatch, address: tuple[str, int]
) -> None:
    monkeypatch.setattr(http, "REST", 1e9)
    monkeypatch.setattr(http.time, "thread_time", lambda: 0.0)
    for _ in range(3):
        with connect(address) as client:
            client.sendall(GET)
            assert read_answer(client)[1] == b"/metrics a=b"


def is_told_nothing(client: socket.socket) -> bool:
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    return True


def test_a_light_answer_waits_for_no_rest(resting: tuple[str, int]) -> None:
    with connect(resting) as other, connect(resting) as probe:
        other.sendall(GET)
        probe.sendall(HEALTH)
        assert read_answer(probe)[1] == b"/healthz "
        assert is_told_nothing(other)


def test_who_asks_for_light_answers_without_end_waits_like_others(
    monkeypatch: pytest.MonkeyPatch, resting: tuple[str, int]
) -> None:
    monkeypatch.setattr(http, "LIGHT_EVERY_S", 1e9)
    with connect(resting) as greedy, connect(resting) as probe:
        greedy.sendall(HEALTH * 500)
        assert read_answer(greedy)[1] == b"/healthz "
        probe.sendall(HEALTH)
        assert read_answer(probe)[1] == b"/healthz "
        assert is_told_nothing(greedy)
