"""What a keeper runs ends with its gateway, and all that it has started ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import psutil
import pytest

from turnout_server.onnx import keeper

LONG_S = 60.0
"""Longer than anything takes here that comes to an end."""


class Kept(NamedTuple):
    """A keeper at work."""

    process: subprocess.Popen[bytes]
    pulse: socket.socket
    line: socket.socket
    """The other end of the child's standard input."""

    def said(self, count: int) -> list[int]:
        """Wait for so many numbers, which the child says on its standard input."""
        with self.line.makefile() as lines:
            return [int(lines.readline()) for _ in range(count)]


@contextlib.contextmanager
def kept(script: str) -> Iterator[Kept]:
    """Have a shell kept that runs *script*."""
    ours, pulse = socket.socketpair()
    line, its = socket.socketpair()
    ours.settimeout(LONG_S)
    line.settimeout(LONG_S)
    with ours, line, pulse, its:
        command = [sys.executable, "-IS", keeper.__file__, str(its.fileno()), "/bin/sh", "-c", script]
        with subprocess.Popen(command, stdin=pulse.fileno(), pass_fds=[its.fileno()], process_group=0) as process:
            pulse.close()
            its.close()
            try:
                yield Kept(process, ours, line)
            finally:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(("script", "code"), [("exit 3", b"3"), ("kill -SEGV $$", b"-11"), ("exit 0", b"0")])
def test_how_the_child_has_ended_is_said_and_then_the_keeper_ends(script: str, code: bytes) -> None:
    with kept(script) as one:
        assert one.pulse.recv(16) == code
        assert one.pulse.recv(16) == b""


def test_what_a_child_has_started_ends_with_it() -> None:
    with kept("sleep 1000 & echo $! >&0; read go") as one:
        started = psutil.Process(*one.said(1))
        one.line.sendall(b"go\n")
        assert one.pulse.recv(16) == b"0"
        started.wait(LONG_S)


def test_all_end_with_the_gateway_and_of_the_child_nothing_is_left_to_others() -> None:
    with kept("sleep 1000 & echo $! >&0; echo $$ >&0; while :; do :; done") as one:
        started = [psutil.Process(pid) for pid in one.said(2)]
        one.pulse.shutdown(socket.SHUT_WR)
        assert one.pulse.recv(16) == b"-9"  # it was waited for
        _, alive = psutil.wait_procs(started, LONG_S)
        assert not alive


@pytest.mark.skipif(sys.platform != "linux", reason="what is open is not to be seen here")
def test_a_child_is_told_who_keeps_it_and_has_no_part_in_the_pulse() -> None:
    with kept("echo $0 >&0; found=$(ls /proc/self/fd | wc -l); echo $found >&0") as one:
        keeper_pid, descriptors = one.said(2)
        assert keeper_pid == one.process.pid
        assert descriptors == 4  # 0, 1, 2, and that of the directory
