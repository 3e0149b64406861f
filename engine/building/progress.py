"""A long command: its output goes into a log, and one line on the terminal says how it is getting on."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TextIO

TICK_S = 1.0
ENDING = {signal.SIGINT, signal.SIGTERM}
LINE_EVERY_S = 15.0
"""How often a line is printed where no terminal can show it change, in seconds."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    output: str


class Progress:
    """The one line: what is done, how many crates so far, for how long."""

    def __init__(self, what: str, out: TextIO) -> None:
        self._what = what
        self._out = out
        self._live = out.isatty()
        self._crates = 0
        self._latest = ""
        self._said_s = 0.0
        print(f"{what} ...", file=out, end="" if self._live else "\n", flush=True)

    def heard(self, line: str) -> None:
        """Note a line of cargo's."""
        verb, _, rest = line.strip().partition(" ")
        if verb in {"Compiling", "Downloaded"} and rest:
            self._crates += 1
            self._latest = rest.split()[0]

    def tick(self, took_s: float) -> None:
        """Show how things are, *took_s* seconds after the start."""
        text = f"{self._what}: {self._crates} crates, {self._latest or '...'}, {took_s:.0f} s"
        if self._live:
            print(f"\r\033[K{text}", file=self._out, end="", flush=True)
        elif took_s - self._said_s >= LINE_EVERY_S:
            self._said_s = took_s
            print(text, file=self._out, flush=True)

    def close(self) -> None:
        """Take the line away."""
        if self._live:
            print("\r\033[K", file=self._out, end="", flush=True)


def watched(
    what: str, command: list[str], place: Path, environment: Mapping[str, str], log: Path, silent_s: float | None = None
) -> Ended:
    """Run *command* in *place*, shown as *what*; stop it when it says nothing for *silent_s* seconds."""
    progress = Progress(what, sys.stdout)
    process = None
    try:
        # A signal that came while the process is made would leave it behind.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        process = subprocess.Popen(
            command,
            cwd=place,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that all that it starts ends with it
            preexec_fn=_hear_signals,
        )
        _hear_signals()
        with log.open("wb", buffering=0) as file:
            output = _listen(process, progress, file, silent_s)
        return Ended(process.wait(), output)
    finally:
        _hear_signals()
        progress.close()
        if process is not None:
            _end(process)


def _hear_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def end_with_what_was_started() -> None:
    """Have SIGTERM end what runs under `watched` before it ends this process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _listen(process: subprocess.Popen[bytes], progress: Progress, log: FileIO, silent_s: float | None) -> str:
    """Return all that the process says until it closes its output, or has been silent for too long and is stopped."""
    assert process.stdout is not None
    started = heard_s = time.monotonic()
    said = bytearray()
    unfinished = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            ready = selector.select(TICK_S)
            now_s = time.monotonic()
            if ready:
                heard_s = now_s
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                said += chunk
                log.write(chunk)
                *lines, unfinished = (unfinished + chunk).split(b"\n")
                for line in lines:
                    progress.heard(line.decode(errors="replace"))
            elif silent_s is not None and now_s - heard_s > silent_s:
                os.killpg(process.pid, signal.SIGKILL)
                note = f"stopped: it said nothing for {silent_s:.0f} s\n".encode()
                said += note
                log.write(note)
                break
            progress.tick(now_s - started)
    return said.decode(errors="replace")
