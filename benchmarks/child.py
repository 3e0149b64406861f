"""A process that does jobs: they go in as lines of JSON, and what it found comes out as such.

A load generator in a process of its own shares no interpreter with what directs the benchmark.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec
import uvloop

from benchmarks.processes import ServerFailedError, paths

Job = TypeVar("Job", bound=msgspec.Struct)
Found = TypeVar("Found", bound=msgspec.Struct)


class Child(Generic[Job, Found]):
    """The parent's end."""

    def __init__(self, module: str, found: type[Found]) -> None:
        """Make it, to be entered.

        Args:
            module: what the child runs: `python -m MODULE`, which calls `work_off`.
            found: what it answers with.
        """
        self._module = module
        self._found = found

    def __enter__(self) -> Self:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | paths("server", "clients/python", "."),
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """The process, once it was entered."""
        return self._process.pid

    def order(self, job: Job) -> None:
        """Have *job* done; one at a time."""
        self._tell(msgspec.json.encode(job))

    def found(self) -> Found:
        """Wait for what the job that was ordered has found.

        Raises:
            ServerFailedError: the child ended without, for a reason that it has written to standard error.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ServerFailedError(f"{self._module} has found nothing; see above")
        return msgspec.json.decode(line, type=self._found)

    def measure(self, job: Job) -> Found:
        """Do *job*.

        Raises:
            ServerFailedError: as `found`.
        """
        self.order(job)
        return self.found()

    def stop(self) -> None:
        """End the job that is under way before its time, if its kind can be; what it found by then counts."""
        self._tell(b"")

    def _tell(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()


def work_off(kind: type[Job], work: Callable[[Job, asyncio.Event], Awaitable[msgspec.Struct]]) -> None:
    """Do the jobs on standard input until it ends: the child's end.

    Args:
        kind: of a job.
        work: does one. The event is set to end it before its time.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work_off(kind, work))


async def _work_off(kind: type[Job], work: Callable[[Job, asyncio.Event], Awaitable[msgspec.Struct]]) -> None:
    lines = asyncio.StreamReader(limit=1 << 28)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    line = await lines.readline()
    while line:
        stop = asyncio.Event()
        following = asyncio.ensure_future(_next_line(lines, stop))
        found = await work(msgspec.json.decode(line, type=kind), stop)
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        sys.stdout.buffer.flush()
        line = await following


async def _next_line(lines: asyncio.StreamReader, stop: asyncio.Event) -> bytes:
    """Return the next job, or nothing at the end; what comes before it only stops the present one."""
    while (line := await lines.readline()) and not line.strip():
        stop.set()
    stop.set()
    return line
