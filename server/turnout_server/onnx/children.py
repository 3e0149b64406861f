"""The child processes in which versions are tried out, so that whatever a graph does costs that version alone.

A child is started when it is needed, tries out one version after the other, and is ended when it has had nothing to do
for a while. One that hangs, crashes or runs out of memory is replaced.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import structlog

from turnout_server.onnx.conversation import (
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
    Word,
)
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.errors import InvalidModelError

_log = structlog.get_logger("turnout.loading")

TRIES = 2
"""How many children a version may cost before it is its fault."""
IDLE_S = 30.0
"""How long a child waits for more to do, in seconds: each takes some 100 MB."""
_BEFORE = "its trial"
"""The step before the first."""
_DYING_S = 5.0
"""How long a child that has hung up may take to end, in seconds."""
_SAID_BYTES = 1 << 16
_SHOWN = 1000
"""Characters of what a child says that others get to see."""


class _LostError(Exception):
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
        self.had_begun = step != _BEFORE
        self.said = said


class Child:
    """One process, and what it is asked. One thread at a time, apart from `end`."""

    def __init__(self, opener: Opener, memory_bytes: int) -> None:
        """Start it.

        Args:
            opener: who opens graphs.
            memory_bytes: what it may take.

        Raises:
            OSError: there are no more processes or files to be had.
        """
        ours, its = socket.socketpair()
        self._said, errors = os.pipe()
        # Whatever it writes there must neither hold it up nor find its way into the gateway's log unasked.
        os.set_blocking(errors, False)
        os.set_blocking(self._said, False)
        settings = msgspec.json.encode(Settings(opener, memory_bytes, os.getpid())).decode()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "turnout_server.onnx.child", settings],
                stdin=its.fileno(),
                stdout=errors,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                process_group=0,  # Ctrl-C is for the gateway, which ends its children itself
            )
        except OSError:
            ours.close()
            os.close(self._said)
            raise
        finally:
            its.close()
            os.close(errors)
        self._memory_mb = memory_bytes >> 20
        self._line: Line[Word] = Line(ours, Word)
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
            _LostError: the child has ended, or must not be used again.
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
            raise _LostError(step, f"needed more than {self._memory_mb} MB (store.load_memory_mb)")
        self.is_spent = False
        match word:
            case Refused(problem):
                raise InvalidModelError(_shown(problem))
            case Puzzled(kind, trace):
                _log.error("a trial failed", model=request.manifest.model, version=request.manifest.version, said=trace)
                raise InvalidModelError(f"{step} failed ({kind})")
        return word

    def end(self) -> None:
        """End it, whatever it is doing."""
        self.process.kill()

    def reap(self) -> None:
        """Forget the ended process."""
        self.process.wait()
        self._line.close()
        os.close(self._said)

    def _lost(self, step: str) -> _LostError:
        try:
            code = self.process.wait(_DYING_S)
        except subprocess.TimeoutExpired:
            return _LostError(step, "ended with an answer that makes no sense")
        try:
            said = os.read(self._said, _SAID_BYTES).decode(errors="replace")
        except OSError:
            said = ""
        return _LostError(step, _manner(code), said)


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


class Children:
    """As many children as there are threads that ask at once. Any thread."""

    def __init__(self, opener: Opener, timeout_s: float, memory_bytes: int) -> None:
        """Start none yet.

        Args:
            opener: who opens graphs: the same as will serve them, so that what is measured holds.
            timeout_s: how long a step of a trial may take, in seconds.
            memory_bytes: what one child may take.
        """
        self._opener: Opener = opener
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._free: list[Child] = []
        """The one that rested last is last."""
        self._busy: set[Child] = set()
        self._resting: threading.Timer | None = None
        self._closed = False

    def try_out(self, directory: Path, manifest: Manifest) -> Passed:
        """Try out a version whose digests have been verified; in a thread that lives as long as the children.

        Where a child is lost, another one tries once more: perhaps it was not the version's fault, but that of the
        one before it, or of whoever ended the process.

        Raises:
            InvalidModelError: the version cannot be served.
            OSError: no process can be started.
        """
        request = Request(str(directory), manifest)
        child, tries = self._take(), 0
        while True:
            try:
                return self._ask(child, request)
            except _LostError as lost:
                self._note(lost, manifest)
                tries += lost.had_begun or not child.has_rested  # else it had ended before it was asked
                if tries == TRIES:
                    raise InvalidModelError(lost.problem) from None
            child = self._start()

    def close(self) -> None:
        """End all children; trials under way fail."""
        with self._lock:
            self._closed = True
            if self._resting is not None:
                self._resting.cancel()
            resting, self._free = self._free, []
            for child in (*resting, *self._busy):
                child.end()
        for child in resting:
            child.reap()

    @property
    def pids(self) -> list[int]:
        """The children's processes, at rest or not."""
        with self._lock:
            return [child.process.pid for child in (*self._free, *self._busy)]

    def _ask(self, child: Child, request: Request) -> Passed:
        try:
            return child.try_out(request, self._timeout_s)
        finally:
            self._give_back(child)

    def _take(self) -> Child:
        """Return a child that has nothing to do."""
        while True:
            with self._lock:
                if not self._free:
                    break
                child = self._free.pop()
                self._busy.add(child)
            if child.process.poll() is None:
                return child
            with self._lock:  # somebody has ended it
                self._busy.discard(child)
            child.reap()
        return self._start()

    def _start(self) -> Child:
        child = Child(self._opener, self._memory_bytes)
        with self._lock:
            self._busy.add(child)
            if self._closed:
                child.end()
        return child

    def _give_back(self, child: Child) -> None:
        with self._lock:
            self._busy.discard(child)
            if not self._closed and not child.is_spent:
                child.idle_since, child.has_rested = time.monotonic(), True
                self._free.append(child)
                self._rest()
                return
        child.end()
        child.reap()

    def _rest(self) -> None:
        """See that children at rest are ended in time. The lock is held."""
        if self._resting is None and self._free:
            wait_s = self._free[0].idle_since + IDLE_S - time.monotonic()
            self._resting = threading.Timer(max(wait_s, 0.0), self._end_idle)
            self._resting.daemon = True
            self._resting.start()

    def _end_idle(self) -> None:
        with self._lock:
            self._resting = None
            due = time.monotonic() - IDLE_S
            ended = [child for child in self._free if child.idle_since <= due]
            self._free = [child for child in self._free if child.idle_since > due]
            self._rest()
        for child in ended:
            child.end()
            child.reap()

    def _note(self, lost: _LostError, manifest: Manifest) -> None:
        if self._closed:
            raise InvalidModelError("its trial was given up, because the gateway ends")
        _log.warning(
            "a trial was lost", model=manifest.model, version=manifest.version, problem=lost.problem, said=lost.said
        )
