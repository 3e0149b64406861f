"""The question by hand: what is sent and understood, and what is left to a real client."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from grpc_health.v1 import health_pb2

from tests.cli.conftest import Run
from tests.e2e.conftest import environment
from turnout_server.cli import probe
from turnout_server.rpc.standard import HealthCheckResponse

SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
Listen = Callable[..., str]


def frame(kind: int, flags: int, payload: bytes, stream: int = 1) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def answer(status: int = 1, why: str = "", **other: object) -> bytes:
    """Return the frames of a whole answer: headers, a message, trailers."""
    raw = HealthCheckResponse(status=status, why=why).SerializeToString()
    message = frame(0, 0, b"\x00" + struct.pack(">I", len(raw)) + raw)
    return SETTINGS + frame(1, 4, b"\x88") + message + frame(1, 5, b"\x88")


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Answers one connection with these bytes, one after the other; returns its address."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def begun(*parts: bytes, then_wait: bool = False) -> str:
            def serve() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    for part in parts:
                        connection.sendall(part)
                    if then_wait:
                        connection.recv(4096)
                        connection.recv(4096)

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return f"127.0.0.1:{server.getsockname()[1]}"

        yield begun
        for thread in threads:
            thread.join(20.0)


@pytest.mark.parametrize(
    ("status", "why", "found"),
    [(1, "", "SERVING"), (2, "route 'a': é", "NOT_SERVING"), (0, "", "UNKNOWN"), (3, "", "SERVICE_UNKNOWN")],
)
def test_an_answer_is_read_whole_and_in_pieces(listen: Listen, status: int, why: str, found: str) -> None:
    whole = answer(status, why)
    assert probe.ask(listen(whole)) == (found, why)
    assert probe.ask(listen(*(whole[index : index + 1] for index in range(len(whole))))) == (found, why)


def test_who_knows_nothing_of_why_is_understood(listen: Listen) -> None:
    raw = health_pb2.HealthCheckResponse(status=2).SerializeToString()
    message = frame(0, 1, b"\x00" + struct.pack(">I", len(raw)) + raw)
    assert probe.ask(listen(SETTINGS + message)) == ("NOT_SERVING", "")


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"",
        SETTINGS + frame(1, 5, b"\x88"),  # an error: no message
        SETTINGS + frame(3, 0, b"\x00\x00\x00\x08"),
        SETTINGS + frame(7, 0, b"\x00" * 8, 0),
        SETTINGS + frame(0, 1, b"\x01\x00\x00\x00\x01\x08"),  # compressed
        SETTINGS + frame(0, 1, b"\x00\x00\x00\x00\x09\x08"),  # cut off
        SETTINGS + frame(0, 1, b"\x00\x00\x00\x00\x01\x08"),  # a field without a value
        SETTINGS + frame(0, 9, b"\x00" * 8),  # padded
        b"\xff\xff\xff" + SETTINGS[3:],
        (SETTINGS + frame(4, 0, b"\x00" * 12000, 0)) * 40,  # never ends
    ],
)
def test_what_is_no_plain_answer_is_left_to_a_real_client(listen: Listen, sent: bytes) -> None:
    assert probe.ask(listen(sent)) is None


@pytest.mark.parametrize(
    "target",
    ["localhost", "gateway:8001", "dns:///h:1", "http://127.0.0.1:1", "127.0.0.1:0", "::1:80", "unix:/a:1", ""],
)
def test_names_that_take_more_than_a_look_are_too(target: str) -> None:
    assert probe.ask(target) is None


def test_a_name_is_asked_where_that_is_said(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe.socket, "create_connection", lambda place, timeout: found.append(place) or connect(place))
    found: list[tuple[str, int]] = []
    port = int(listen(answer(2, "why")).rpartition(":")[2])

    def connect(place: tuple[str, int]) -> socket.socket:
        connection = socket.socket()
        connection.connect(("127.0.0.1", place[1]))
        return connection

    assert probe.ask(f"gateway:{port}", any_name=True) == ("NOT_SERVING", "why")
    assert found == [("gateway", port)]
    assert probe.ask("dns:///gateway:1", any_name=True) is None


def test_so_is_who_may_stand_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    assert probe._place("192.0.2.1:1") is None
    assert probe._place("127.0.0.2:1") == ("127.0.0.2", 1)
    assert probe._place("[::1]:1") == ("::1", 1)


def test_nobody_there_and_nobody_in_time_are_no_answers(listen: Listen) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(probe.NoAnswerError, match=r"refused \(UNAVAILABLE\)$"):
        probe.ask(address)
    with pytest.raises(probe.NoAnswerError, match=r"no answer within 0\.05 s \(DEADLINE_EXCEEDED\)$"):
        probe.ask(listen(SETTINGS, then_wait=True), timeout_s=0.05)


def test_a_service_travels_whole() -> None:
    name = "route/" + "x" * 300
    sent = probe.request("127.0.0.1:8001", name, 3.0)
    raw = sent[sent.index(b"\x0a\xb2\x02route/") :]
    assert health_pb2.HealthCheckRequest.FromString(raw).service == name


# ---------------------------------------------------------------- the command


def test_the_command_says_what_was_said_and_exits_by_it(listen: Listen, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.quickly(["-t", listen(answer(1))]) == 0
    assert capsys.readouterr().out == "SERVING\n"
    target = listen(answer(2, "a\x1b[2J: b"))
    assert probe.quickly([f"--target={target}", "--timeout", "9"]) == 1
    assert capsys.readouterr().out == "NOT_SERVING: a [2J: b\n"
    target = listen(answer(2, "why"))
    assert probe.quickly(["--json", "--target", target, "--service", "route/a"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "target": target, "service": "route/a", "status": "NOT_SERVING", "why": "why",
    }  # fmt: skip


def test_nobody_there_is_one_line_and_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.quickly(["--target", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == "turnout: error: 127.0.0.1:1: Connection refused (UNAVAILABLE)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--target"],
        ["extra"],
        ["--timeout", "soon"],
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--service", "\udc80", "--target", "127.0.0.1:1"],
        ["--json=1"],
        ["--target", "gateway:8001"],
    ],
)
def test_what_is_unusual_is_left_to_the_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.quickly(arguments) is None
    assert capsys.readouterr() == ("", "")


def test_the_check_imports_next_to_nothing(listen: Listen) -> None:
    """A container runs it every few seconds."""
    code = f"""
import sys
before = set(sys.modules)
sys.argv[1:] = ["health", "--target", {listen(answer(1))!r}]
from turnout_server.cli import main
try:
    main()
except SystemExit as end:
    new = sys.modules.keys() - before
    print(end.code, sorted(name for name in new if name.startswith("turnout")))
    print(new & {{"asyncio", "google", "grpc", "json", "logging", "typer", "typing", "yaml"}})
"""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    ours = ["turnout_server", "turnout_server.cli", "turnout_server.cli.probe"]
    assert ran.stdout.splitlines() == ["SERVING", f"0 {ours}", "set()"]


@pytest.mark.parametrize("host", ["a" * 3000, "a" * 100 + ".b"])
def test_a_host_name_that_is_too_long_is_one_line_and_1(host: str, run: Run) -> None:
    assert probe.quickly(["--target", f"{host}:8001"]) is None, "left to the command line"
    ran = run("health", "--target", f"{host}:8001", "--timeout", "1")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"turnout: error: cannot reach {host}:8001: ")
    assert ran.err.count("\n") == 1
