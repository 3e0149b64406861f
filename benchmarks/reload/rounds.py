"""One reload after the other, of a large model, while a neighbour is asked at a steady rate."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks.processes import Server, ServerFailedError, cpu_s
from benchmarks.recorder import Calls, Order, Recorder
from benchmarks.reload.results import PHASES, Round, Times, phase_of
from turnout_server.store.manifest import Manifest
from turnout_server.store.publish import Draft, publish

MODEL = "large"
_PATIENCE_S = 120.0
_LOOK_S = 0.01
_RSS_EVERY_S = 0.2
_SETTLE_S = 1.0
"""A pause after the version was copied, and another after the reload: what the system still has to do is nobody's."""
_LONGEST_S = 600.0
_WARMUP_S = 1.0


class Stage(NamedTuple):
    """All that stands ready."""

    server: Server
    log: Path
    """The server's."""
    store: Path
    draft: Draft
    """Of the large model."""
    neighbour: tuple[bytes, ...]
    """Requests."""
    rate: float
    """Of the neighbour's calls, a second."""
    recorder: Recorder


def reload(stage: Stage, seconds: float) -> tuple[Round, Calls, Times]:
    """Publish a new version, and return what the neighbour's callers noticed.

    Args:
        stage: all that stands ready; a version of the large model is being served.
        seconds: how long to measure before and after.

    Raises:
        ServerFailedError: the version is not served in time.
    """
    order = Order(
        target=stage.server.address,
        pid=stage.server.pid,
        requests=stage.neighbour,
        rate=stage.rate,
        seconds=_LONGEST_S,
        warmup_s=_WARMUP_S,
        arrivals="even",
    )
    stage.recorder.order(order)
    time.sleep(_WARMUP_S + seconds)
    memory = _Memory(stage.server)
    events = _Events(stage.log)
    staging = perf_counter()
    staged, appeared, cpu = _published(stage)
    available = events.wait_for("version available")
    unloaded = events.wait_for("version unloaded")
    cpu = cpu_s(stage.server.pid) - cpu
    time.sleep(_SETTLE_S)
    settled = perf_counter()
    time.sleep(seconds)
    stage.recorder.stop()
    recording = stage.recorder.found()
    before, peak, after = memory.found()
    times = Times(recording.opened, staging, staged, appeared, available, unloaded, settled, recording.closed)
    calls = recording.calls()
    found = Round(
        phases={name: phase_of(calls, *times.phase(name)) for name in PHASES},
        load_s=available - appeared,
        unload_s=unloaded - available,
        cpu_s=cpu,
        rss_before=before,
        rss_peak=peak,
        rss_after=after,
        generator_bound=recording.generator_bound,
    )
    return found, calls, times


def _published(stage: Stage) -> tuple[float, float, float]:
    """Publish a version; return when it was copied, when it appeared, and the CPU that the server had used by then."""
    staged, appeared, cpu = 0.0, 0.0, 0.0

    def hold(directory: Path, manifest: Manifest) -> None:
        """Wait until the copy is on disk: what follows is hardly more than a rename."""
        nonlocal staged, appeared, cpu
        os.sync()
        staged = perf_counter()
        time.sleep(_SETTLE_S)
        cpu = cpu_s(stage.server.pid)
        appeared = perf_counter()

    publish(stage.store, stage.draft, verify=hold)
    return staged, appeared, cpu


class _Events:
    """What a server writes into its log from now on. Reading that costs it nothing, as asking would."""

    def __init__(self, log: Path) -> None:
        self._lines = self._follow(log)

    def wait_for(self, event: str) -> float:
        """Return when *event* of the large model was seen.

        Raises:
            ServerFailedError: it does not come, or the version cannot be served.
        """
        for line in self._lines:
            if line.get("model") != MODEL:
                continue
            if line.get("event") == event:
                return perf_counter()
            if line.get("event") == "version cannot be served":
                raise ServerFailedError(f"{MODEL} cannot be served: {line.get('problem')}")
        raise ServerFailedError(f"no {event!r} within {_PATIENCE_S:g} s")

    @staticmethod
    def _follow(log: Path) -> Iterator[dict[str, str]]:
        deadline = perf_counter() + _PATIENCE_S
        at, rest = log.stat().st_size, b""
        while perf_counter() < deadline:
            with log.open("rb") as reader:
                reader.seek(at)
                found = reader.read()
            at += len(found)
            *lines, rest = (rest + found).split(b"\n")
            yield from (json.loads(line) for line in lines if line.startswith(b"{"))
            time.sleep(_LOOK_S)


class _Memory:
    """Looks at a server's memory from now on until it is asked what it found."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self._peak = server.rss()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopped.wait(_RSS_EVERY_S):
            self._peak = max(self._peak, self._server.rss())

    def found(self) -> tuple[int, int, int]:
        """Return what was resident at the beginning, at most, and now, in bytes."""
        self._stopped.set()
        self._thread.join()
        return self._before, self._peak, self._server.rss()
