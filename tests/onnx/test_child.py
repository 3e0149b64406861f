"""What a child says of a version, and when it ends."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from tests.onnx.graphs import linear, manifest, saved
from turnout_server.onnx import binding, child
from turnout_server.onnx.conversation import (
    WORDS,
    Began,
    Line,
    OutOfMemory,
    Passed,
    Puzzled,
    Refused,
    Request,
    Settings,
    Step,
    Word,
)
from turnout_server.onnx.session import OpenSession, Session
from turnout_server.vocabulary.errors import InvalidModelError

LONG_S = 60.0
"""Longer than a child takes that ends."""
MEMORY_BYTES = 1 << 30
SETTINGS = msgspec.json.encode(Settings("binding", MEMORY_BYTES)).decode()

Ask = Callable[[OpenSession], list[Word]]
"""Has a good graph tried out, opened so, and returns all that the child says until its gateway hangs up."""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run the program here, without what it does to its process."""

    def asked(open_session: OpenSession) -> list[Word]:
        ours, its = socket.socketpair()
        with its, contextlib.closing(Line(ours, WORDS)) as line:
            monkeypatch.setattr(binding, "open_session", open_session)
            monkeypatch.setattr(child, "_end_with", lambda keeper: None)
            monkeypatch.setattr(child, "_be_modest", lambda memory_bytes: None)
            monkeypatch.setattr(sys, "argv", ["child", SETTINGS, str(os.getpid())])
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=its.fileno))
            line.say(Request(str(saved(tmp_path, linear())), manifest()))
            ours.shutdown(socket.SHUT_WR)
            child.main()
            its.shutdown(socket.SHUT_WR)
            said: list[Word] = []
            with contextlib.suppress(EOFError):
                while True:
                    said.append(line.hear())
            return said

    return asked


def raising(error: Exception, cause: Exception | None = None) -> OpenSession:
    def open_session(path: object, options: object, extensions: object = None) -> Session:
        raise error from cause

    return open_session


def test_every_step_is_said_before_what_came_of_them(ask: Ask) -> None:
    *steps, end = ask(binding.open_session)
    assert steps == [Began(Step.CHECK), Began(Step.OPEN), Began(Step.RUN)]
    assert isinstance(end, Passed)
    assert (sorted(end.measured), end.independent) == ([1, 64], True)


@pytest.mark.parametrize(
    "open_session",
    [
        raising(MemoryError()),
        raising(RuntimeError("std::bad_alloc")),
        raising(InvalidModelError("it failed"), RuntimeError("Failed to allocate memory for requested buffer")),
        raising(InvalidModelError("it failed"), MemoryError()),
    ],
    ids=["by Python", "by a word", "by its cause's word", "by its cause"],
)
def test_memory_that_has_run_out_is_recognised_however_it_is_said(ask: Ask, open_session: OpenSession) -> None:
    assert ask(open_session) == [Began(Step.CHECK), Began(Step.OPEN), OutOfMemory()]


def test_memory_is_recognised_in_what_was_being_handled(ask: Ask) -> None:
    def open_session(path: object, options: object, extensions: object = None) -> Session:
        try:
            raise MemoryError
        except MemoryError:
            raise InvalidModelError("it failed")  # noqa: B904

    assert ask(open_session)[-1] == OutOfMemory()


def test_a_version_that_is_refused_is_refused_with_the_reason(ask: Ask) -> None:
    assert ask(raising(InvalidModelError("it failed"), OSError("secret")))[-1] == Refused("it failed")


def test_of_an_error_that_nobody_had_thought_of_all_is_told(ask: Ask) -> None:
    end = ask(raising(KeyError("odd")))[-1]
    assert isinstance(end, Puzzled)
    assert end.kind == "KeyError"
    assert end.trace.startswith("Traceback")
    assert "odd" in end.trace


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends with its socket")
def test_who_has_lost_its_keeper_before_it_could_say_so_ends() -> None:
    """The kernel ends it with its parent; a parent that had gone before that was asked for is not the keeper."""
    ours, its = socket.socketpair()
    with ours, its:
        code = subprocess.run(
            [sys.executable, "-m", "turnout_server.onnx.child", SETTINGS, str(os.getppid())],
            stdin=its.fileno(),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            timeout=LONG_S,
            check=False,
        ).returncode
    assert code == 0


@pytest.mark.parametrize(("busy", "tries"), [(0, 1), (2, 3), (9, 5)])
def test_a_session_is_made_to_wait_though_the_kernel_allows_that_seldom(
    monkeypatch: pytest.MonkeyPatch, busy: int, tries: int
) -> None:
    """Several children may begin at once."""
    written: list[str] = []

    def write_text(content: str) -> None:
        written.append(content)
        if len(written) <= busy:
            raise BlockingIOError

    monkeypatch.setattr(child, "SESSION", SimpleNamespace(write_text=write_text))
    monkeypatch.setattr(child, "_PATIENCE", (5, 0.0))
    child._let_other_sessions_go_first()
    assert written == ["5"] * tries
