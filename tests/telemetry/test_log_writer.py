"""Who logs never waits for who reads, and what is lost is counted."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
from pathlib import Path

import pytest
import structlog

from turnout_server.telemetry import logs
from turnout_server.telemetry.log_writer import LogWriter, UnwrittenError
from turnout_server.telemetry.logs import logging_to_stderr

PATIENCE_S = 30


class Stuck:
    """Something that is written to and waits until it is let go."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.began, self.go = threading.Event(), threading.Event()

    def write(self, text: str) -> None:
        self.began.set()
        assert self.go.wait(PATIENCE_S)
        self.taken += text.splitlines()


def test_lines_are_written_in_order() -> None:
    taken: list[str] = []
    writer = LogWriter(taken.append)
    for number in range(1000):
        writer.put(f"{number}\n")
    assert writer.flush(PATIENCE_S)
    writer.close(PATIENCE_S)
    assert "".join(taken).split() == [str(number) for number in range(1000)]


def test_what_finds_no_room_is_dropped_and_counted_once_it_flows_again() -> None:
    place, told = Stuck(), []
    writer = LogWriter(place.write, lambda dropped: told.append(dropped) if dropped else None, most_lines=3)
    writer.put("first\n")
    assert place.began.wait(PATIENCE_S)
    for number in range(5):
        writer.put(f"{number}\n")
    assert (writer.dropped, told) == (2, [])
    assert not writer.flush(0)
    place.go.set()
    writer.close(PATIENCE_S)
    assert (place.taken, told) == (["first", "0", "1", "2"], [2])


def test_long_lines_are_bounded_together() -> None:
    place = Stuck()
    writer = LogWriter(place.write, most_characters=10)
    writer.put("first\n")
    assert place.began.wait(PATIENCE_S)
    for line in ("1234\n", "5678\n", "9\n"):
        writer.put(line)
    place.go.set()
    writer.close(PATIENCE_S)
    assert (place.taken, writer.dropped) == (["first", "1234", "5678"], 1)


def test_closing_does_not_wait_for_who_does_not_read() -> None:
    place = Stuck()
    writer = LogWriter(place.write)
    writer.put("never read\n")
    assert place.began.wait(PATIENCE_S)
    writer.close(0.01)
    assert place.taken == []
    place.go.set()


def test_a_log_that_cannot_be_written_does_not_end_the_thread() -> None:
    taken: list[str] = []

    def write(text: str) -> None:
        if text == "full\n":
            raise OSError("no space left")
        taken.append(text)

    writer = LogWriter(write)
    writer.put("full\n")
    assert writer.flush(PATIENCE_S)
    writer.put("more\n")
    writer.close(PATIENCE_S)
    assert taken == ["more\n"]


def test_logging_into_a_full_pipe_returns() -> None:
    """It would wait for ever; and once somebody reads, the log says how much it does not have."""
    reader, end = os.pipe()
    most = os.fpathconf(end, "PC_PIPE_BUF")
    os.set_blocking(end, False)
    try:
        while True:
            os.write(end, b" " * most)
    except BlockingIOError:
        os.set_blocking(end, True)
    with os.fdopen(end, "w") as stream, logging_to_stderr("debug", "json", stream) as left_out:
        for number in range(20_000):
            structlog.get_logger("t").debug("event", number=number)
        (family,) = left_out.families()
        assert dict(family.points)[("full",)] >= 20_000 - 2 * 10_000 - 1
        assert dict(family.points)[("full",)] > 0
        drained: list[bytes] = []
        drain = threading.Thread(target=lambda: drained.extend(iter(lambda: os.read(reader, 1 << 16), b"")))
        drain.start()
        logs.flush(PATIENCE_S)
    drain.join(PATIENCE_S)
    os.close(reader)
    lines = b"".join(drained).decode().strip().splitlines()
    (said,) = [one for one in map(json.loads, lines) if one["event"].startswith("log lines were dropped")]
    assert said["count"] > 0


def test_a_pipe_that_does_not_wait_loses_nothing() -> None:
    """Who started this process has made its stderr so: a shell, or a parent with an event loop."""
    reader, end = os.pipe()
    os.set_blocking(end, False)
    drained: list[bytes] = []
    drain = threading.Thread(target=lambda: drained.extend(iter(lambda: os.read(reader, 1 << 16), b"")))
    with os.fdopen(end, "w") as stream, logging_to_stderr("debug", "json", stream) as left_out:
        for number in range(5_000):  # more than the pipe takes
            structlog.get_logger("t").debug("event", number=number)
        drain.start()
        assert logs.flush(PATIENCE_S) is None
        (family,) = left_out.families()
        assert (dict(family.points)[("full",)], dict(family.points)[("unwritten",)]) == (0, 0)
    drain.join(PATIENCE_S)
    os.close(reader)
    lines = b"".join(drained).decode().splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(5_000))


def test_lines_for_which_there_is_no_space_are_counted() -> None:
    with Path("/dev/full").open("w") as stream, logging_to_stderr("info", "json", stream) as left_out:
        for number in range(7):
            structlog.get_logger("t").info("event", number=number)
        logs.flush(PATIENCE_S)
        (family,) = left_out.families()
        assert dict(family.points)[("unwritten",)] == 7


def test_what_was_written_before_the_space_ended_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []

    def write(descriptor: int, content: bytes) -> int:
        if taken:
            raise OSError(errno.ENOSPC, "no space left")
        taken.append(bytes(content[:4]))
        return 4

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(UnwrittenError) as raised:
        logs._write_bytes(2, b"ab\ncd\nef\n")
    assert (taken, raised.value.lines) == ([b"ab\nc"], 2)


def test_the_log_says_what_could_not_be_written_once_it_can() -> None:
    told: list[int] = []
    writable, taken = threading.Event(), []

    def write(text: str) -> None:
        if not writable.is_set():
            raise OSError("no space left")
        taken.append(text)

    writer = LogWriter(write, lambda lost: told.append(lost) if lost else None)
    for _ in range(3):
        writer.put("lost\n")
        assert writer.flush(PATIENCE_S)
    assert (writer.unwritten, told) == (3, [])
    writable.set()
    writer.put("more\n")
    writer.close(PATIENCE_S)
    assert (taken, told) == (["more\n"], [3])


@pytest.mark.parametrize("level", ["info", "error"])
def test_whatever_is_shown_the_log_says_what_it_does_not_have(level: str) -> None:
    class Slow(io.StringIO):
        began, go = threading.Event(), threading.Event()

        def write(self, text: str) -> int:
            self.began.set()
            assert self.go.wait(PATIENCE_S)
            return super().write(text)

    log = Slow()
    with logging_to_stderr(level, "json", log):
        structlog.get_logger("t").error("first")
        assert log.began.wait(PATIENCE_S)
        for _ in range(2):
            structlog.get_logger("t").error("x" * (4 << 20))
        log.go.set()
        logs.flush(PATIENCE_S)
    (said,) = [one for one in map(json.loads, log.getvalue().splitlines()) if "dropped" in one["event"]]
    assert said["count"] == 1


def test_the_last_lines_are_there_when_logging_ends() -> None:
    log = io.StringIO()
    with logging_to_stderr("info", "json", log):
        structlog.get_logger("t").info("last")
    assert json.loads(log.getvalue())["event"] == "last"
