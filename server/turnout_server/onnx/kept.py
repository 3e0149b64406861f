"""A child that tries versions out, as its gateway has it: a process, its keeper, and the lines to both."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time

import msgspec
import structlog

from turnout_server.onnx import keeper
from turnout_server.onnx.conversation import (
    WORDS,
    Began,
    Line,
    Opener,
    OutOfMemory,
    Passed,
    Puzzled,
    Refused,
    Request,
    Settings,
    Step,
)
from turnout_server.vocabulary.errors import InvalidModelError

_log = structlog.get_logger("turnout.loading")

_BEFORE = "its trial"
"""The step before the first."""
_LOOK_EVERY_S = 0.005
_DYING_S = 5.0
"""How long a child that has hung up may take to end, and its keeper to see to that, in seconds."""
_SAID_BYTES = 1 << 16
_CODE_BYTES = 16
_SHOWN = 1000
"""Characters of what a child says that others get to see."""


class LostError(Exception):
    """A child can no longer be used."""

    def __init__(self, step: str, problem: str, said: str = "") -> None:
        """Say what has become of it.

        Args:
            step: what it was doing.
            problem: how it did that.
            said: what it wrote meanwhile.
        """
        super().__init__(f"{step} {problem}")
        self.problem = f"{step} {problem}"
        self.said = said


class KeptChild:
    """One process and its keeper, and what it is asked. One thread at a time, apart from `end`."""

    def __init__(self, opener: Opener, memory_bytes: int, extensions: bool = True) -> None:
        """Start it.

        Args:
            opener: who opens graphs.
            memory_bytes: what it may take.
            extensions: whether graphs may have operators of onnxruntime-extensions.

        Raises:
            OSError: there are no more processes or files to be had.
        """
        with contextlib.ExitStack() as unless_started, contextlib.ExitStack() as its:
            ours, line = _pair(unless_started, its)
            self._pulse, pulse = _pair(unless_started, its)
            self._said, errors = os.pipe()
            unless_started.callback(os.close, self._said)
            its.callback(os.close, errors)
            # Whatever it writes there must neither hold it up nor find its way into the gateway's log unasked.
            os.set_blocking(errors, False)
            os.set_blocking(self._said, False)
            settings = msgspec.json.encode(Settings(opener, memory_bytes, extensions)).decode()
            child = [sys.executable, "-P", "-m", "turnout_server.onnx.child", settings]
            self._keeper = subprocess.Popen(
                [sys.executable, "-IS", keeper.__file__, str(line.fileno()), *child],
                stdin=pulse.fileno(),
                stdout=errors,
                stderr=errors,
                pass_fds=[line.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                # All that it starts is in its group, to be ended together, and Ctrl-C is for the gateway. In a session
                # of its own, since Linux may share the processor among sessions first: it must not take the gateway's.
                start_new_session=True,
            )
            unless_started.pop_all()
        self._memory_mb = memory_bytes >> 20
        self._line = Line(ours, WORDS, self._pulse)
        self.idle_since = 0.0
        self.has_rested = False
        self.is_spent = False
        """Whether it must not be asked again."""

    def try_out(self, request: Request, timeout_s: float) -> Passed:
        """Have a version tried out, and wait for what comes of it.

        Args:
            request: the version.
            timeout_s: how long each step may take.

        Raises:
            InvalidModelError: it cannot be served.
            LostError: the child has ended, or must not be used again.
        """
        step = _BEFORE
        self.is_spent = True
        try:
            until = time.monotonic() + timeout_s
            self._line.say(request, until)
            left = list(Step)
            while isinstance(word := self._line.hear(until), Began):
                left.remove(word.step)  # once: each step gives it more time
                step, until = word.step, time.monotonic() + timeout_s
        except TimeoutError:
            raise InvalidModelError(f"{step} took more than {timeout_s:g} s (store.load_timeout_s)") from None
        except (EOFError, OSError, ValueError) as error:
            raise self._lost(step) from error
        if isinstance(word, OutOfMemory):
            raise LostError(step, f"needed more than {self._memory_mb} MB (store.load_memory_mb)")
        self.is_spent = False
        match word:
            case Refused(problem):
                raise InvalidModelError(_shown(problem))
            case Puzzled(kind, trace):
                _log.error("a trial failed", model=request.manifest.model, version=request.manifest.version, said=trace)
                raise InvalidModelError(f"{step} failed ({kind})")
        return word

    @property
    def has_ended(self) -> bool:
        """Whether it has, though nobody here wanted it to."""
        return _has_something(self._pulse, 0.0)

    def end(self) -> None:
        """End it, whatever it is doing."""
        with contextlib.suppress(OSError):  # its keeper has ended
            self._pulse.shutdown(socket.SHUT_WR)

    def reap(self) -> None:
        """See that nothing is left of the ended process, of what it has started, and of its keeper."""
        self._pulse.settimeout(_DYING_S)
        with contextlib.suppress(OSError):
            while self._pulse.recv(_CODE_BYTES):
                pass
        # In the keeper's place, should it not come to that. Until it has been waited for its group's number is its own.
        with contextlib.suppress(OSError):
            os.killpg(self._keeper.pid, signal.SIGKILL)
        self._keeper.wait()
        _reap_orphans(self._keeper.pid)
        self._line.close()
        self._pulse.close()
        os.close(self._said)

    def _lost(self, step: str) -> LostError:
        if not _has_something(self._pulse, _DYING_S):
            return LostError(step, "ended with an answer that makes no sense")
        try:
            code = int(self._pulse.recv(_CODE_BYTES))
        except (OSError, ValueError):
            code = -signal.SIGKILL  # as its keeper, which can say nothing any more
        try:
            said = os.read(self._said, _SAID_BYTES).decode(errors="replace")
        except OSError:
            said = ""
        return LostError(step, _manner(code), said)


def _reap_orphans(group: int) -> None:
    """Wait for those of an ended keeper's group that have become this process's own children.

    A container's first process gets all orphans, and whom it does not wait for stays a zombie. These have been killed,
    so that they are gone in a moment; for any other process there are none.
    """
    ends = time.monotonic() + _DYING_S
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < ends:
            ended, _ = os.waitpid(-group, os.WNOHANG)
            if not ended:
                time.sleep(_LOOK_EVERY_S)


def _pair(unless_started: contextlib.ExitStack, its: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, other = socket.socketpair()
    return unless_started.enter_context(ours), its.enter_context(other)


def _has_something(end: socket.socket, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(end, select.POLLIN)
    return bool(poll.poll(timeout_s * 1e3))


def _shown(problem: str) -> str:
    """Return a problem, which may name what is in a graph, as it can be logged and told: in short, and in one line."""
    short = problem if len(problem) <= _SHOWN else f"{problem[:_SHOWN]}..."
    return "".join(character if character.isprintable() else "?" for character in short)


def _manner(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    killed = " (memory has run out, or somebody did it)" if name == "SIGKILL" else ""
    return f"crashed with signal {name}{killed}"
