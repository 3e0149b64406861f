"""The child processes in which versions are tried out, so that whatever a graph does costs that version alone.

A child is started when it is needed, tries out one version after the other, and is ended when it has had nothing to do
for a while. One that hangs, crashes or runs out of memory is replaced.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import structlog

from turnout_server.onnx.conversation import Opener, Passed, Request
from turnout_server.onnx.kept import KeptChild, LostError
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.errors import InvalidModelError

_log = structlog.get_logger("turnout.loading")

IDLE_S = 30.0
"""How long a child waits for more to do, in seconds: each takes some 100 MB."""


class Children:
    """As many children as there are threads that ask at once. Any thread."""

    def __init__(self, opener: Opener, timeout_s: float, memory_bytes: int, extensions: bool = True) -> None:
        """Start none yet.

        Args:
            opener: who opens graphs: the same as will serve them, so that what is measured holds.
            timeout_s: how long a step of a trial may take, in seconds.
            memory_bytes: what one child may take.
            extensions: whether graphs may have operators of onnxruntime-extensions.
        """
        self._extensions = extensions
        self._opener: Opener = opener
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._free: list[KeptChild] = []
        """The one that rested last is last."""
        self._busy: set[KeptChild] = set()
        self._resting: threading.Timer | None = None
        self._closed = False

    def try_out(self, directory: Path, manifest: Manifest) -> Passed:
        """Try out a version whose digests have been verified.

        Where a child is lost that has tried out others before, a new one tries once more: perhaps it was the fault of
        one of those. What a new one is lost over is tried again later, as whatever else fails.

        Raises:
            InvalidModelError: the version cannot be served.
            OSError: no process can be started.
        """
        request = Request(str(directory), manifest)
        child = self._take()
        while True:
            try:
                return self._ask(child, request)
            except LostError as lost:
                self._note(lost, manifest)
                if not child.has_rested:
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

    def _ask(self, child: KeptChild, request: Request) -> Passed:
        try:
            return child.try_out(request, self._timeout_s)
        finally:
            self._give_back(child)

    def _take(self) -> KeptChild:
        """Return a child that has nothing to do."""
        while True:
            with self._lock:
                if not self._free:
                    break
                child = self._free.pop()
                self._busy.add(child)
            if not child.has_ended:
                return child
            with self._lock:  # somebody has ended it
                self._busy.discard(child)
            child.reap()
        return self._start()

    def _start(self) -> KeptChild:
        child = KeptChild(self._opener, self._memory_bytes, self._extensions)
        with self._lock:
            self._busy.add(child)
            if self._closed:
                child.end()
        return child

    def _give_back(self, child: KeptChild) -> None:
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

    def _note(self, lost: LostError, manifest: Manifest) -> None:
        if self._closed:
            raise InvalidModelError("its trial was given up, because the gateway ends")
        _log.warning(
            "a trial was lost", model=manifest.model, version=manifest.version, problem=lost.problem, said=lost.said
        )
