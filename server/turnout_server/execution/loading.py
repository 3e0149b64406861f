"""How a version becomes something that runs: verified, loaded, measured, and given a queue of its own.

Written once: the gateway, the benchmarks and the tests all load by this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import structlog

from turnout_server import machine
from turnout_server.config import LEAST_TRIAL_MB, LimitsConfig, ModelConfig, SchedulingConfig
from turnout_server.execution.batch_run import Predictor
from turnout_server.execution.runner import OnRun, Runner
from turnout_server.execution.workers import Workers, most_runs, usable_cores
from turnout_server.instruments.instruments import Instruments
from turnout_server.onnx.children import Children
from turnout_server.onnx.extensions import library
from turnout_server.onnx.loader import open_servable
from turnout_server.onnx.session import OnnxServable, OpenSession
from turnout_server.scheduling.admission import Admission, Bounds, Room, Rooms
from turnout_server.scheduling.batcher import Batcher, Rules
from turnout_server.scheduling.cost import CostModel
from turnout_server.store.local import LocalFiles, reading_s
from turnout_server.store.manifest import Batching, Manifest, size_of
from turnout_server.store.patience import Endless, Waiting
from turnout_server.vocabulary.extent import bounded
from turnout_server.vocabulary.versions import VersionKey

_log = structlog.get_logger("turnout.loading")
_NOTHING = ModelConfig()
_BARE_TRIAL_BYTES = 64 << 20
"""What a process with ONNX Runtime takes before it has a graph."""


class Opened(NamedTuple):
    """A version that can predict, and what trying it out has shown."""

    predictor: Predictor
    measured: Mapping[int, int]
    """The best run time in nanoseconds, by number of rows."""
    independent: bool = True
    """Whether a row's answer is the same alone and in company."""
    by_value: bool = False
    """Whether values may decide what a run costs: then no run has shown what the next one takes."""
    needs: Mapping[int, int] = {}
    """The most bytes that a run had, by number of rows; none where nobody counts."""


Open = Callable[[VersionKey], Opened]
"""Makes a predictor of a version of the store; runs in a loader's thread.

Raises a `TurnoutError` that says what is wrong with the version.
"""
TimedOut = Callable[[VersionKey, float, int], None]
"""Told of a run that was ended: whose it was, how long it may have taken, in seconds, and how many had gone well."""


def opening(
    local: LocalFiles,
    children: Children,
    open_session: OpenSession,
    extensions: bool = True,
    make_room: Callable[[Manifest], None] = lambda manifest: None,
    waiting: Waiting | None = None,
) -> Open:
    """Return what opens the versions in *local* with ONNX Runtime, after they were verified and tried out.

    Args:
        local: the versions' files.
        children: try them out, in processes of their own.
        open_session: opens a graph in this one.
        extensions: whether graphs may have operators of onnxruntime-extensions.
        make_room: told of each version before it takes memory, in the loader's thread.
        waiting: for the disk, while a graph is opened in this process; None for as long as it takes.
    """
    waits = waiting or Endless()

    def open_version(key: VersionKey) -> Opened:
        manifest, directory = local.verified(key.model, key.version)
        make_room(manifest)
        passed = children.try_out(directory, manifest)
        # Whatever a child claims, what is not allowed is not loaded.
        extras = library() if extensions and passed.extensions else None
        what, open_it = f"the graph of {key}", partial(open_servable, directory, manifest, open_session, extras)
        servable = waits.do(what, open_it, more_s=reading_s(manifest), discard=OnnxServable.close)
        return Opened(servable, passed.measured, passed.independent, passed.by_value, passed.needs)

    return open_version


def needed_bytes(manifest: Manifest) -> int:
    """Return roughly how much memory loading a version takes: it is tried out in a process of its own, then opened in
    this one, and both hold its weights a second time for a moment.
    """
    return 3 * size_of(manifest) + _BARE_TRIAL_BYTES


def trial_memory_bytes(configured_mb: int | None) -> int:
    """Return how much memory a version's trial may take: as *configured_mb*, or half of what this machine gives.

    Half, because the version is to be served beside: what does not fit twice does not fit.
    """
    if configured_mb is not None:
        return configured_mb << 20
    return max(machine.memory_bytes() // 2, LEAST_TRIAL_MB << 20)


class Loading:
    """Turns versions into runners that share one process's threads, room and instruments."""

    def __init__(
        self,
        open_version: Open,
        workers: Workers,
        instruments: Instruments,
        limits: LimitsConfig | None = None,
        scheduling: SchedulingConfig | None = None,
        on_run: OnRun | None = None,
        rooms: Rooms | None = None,
        on_timed_out: TimedOut | None = None,
        models: Mapping[str, ModelConfig] | None = None,
    ) -> None:
        """Make what loads.

        Args:
            open_version: makes a predictor of a version.
            workers: the process's threads.
            instruments: counts runs.
            limits: how much may wait; None for the defaults.
            scheduling: how requests are put together; None for the defaults.
            on_run: told of runs; None for nobody.
            rooms: count what waits; None where it waits for these runners only.
            on_timed_out: told of each run that was ended since it took too long; None for nobody.
            models: what models have of their own in place of *limits*, by name.
        """
        self._open = open_version
        self._models = models or {}
        self._workers = workers
        self._instruments = instruments
        self._limits = limits = limits or LimitsConfig()
        self._scheduling = scheduling or SchedulingConfig()
        self._on_run = on_run
        self._on_timed_out = on_timed_out
        self._room = Room if rooms is None else rooms.room
        total = Bounds(limits.queue_total_rows, limits.queue_total_bytes)
        self._total = Room(total) if rooms is None else rooms.total

    def load(self, key: VersionKey) -> Runner:
        """Load a version; in a loader's thread.

        Raises:
            TurnoutError: what is wrong with it.
        """
        predictor, measured, independent, by_value, needs = self._open(key)
        manifest, limits = predictor.manifest, self._models.get(key.model, _NOTHING).over(self._limits)
        if manifest.signature.has_batch_axis and not independent:
            problem = "rows of one batch change each other's answers; serving one request at a time"
            _log.warning("version is not batched", model=key.model, version=key.version, problem=problem)
        costs = CostModel(measured)
        own = self._room(Bounds(limits.queue_rows, limits.queue_bytes))
        admission = Admission(*key, own, self._total, wait_s=limits.queue_wait_ms / 1e3, patient=limits.queue_requests)
        parallel = min(most_runs(self._scheduling.workers), usable_cores())
        rules = rules_of(manifest.batching, self._scheduling, parallel)
        if by_value:
            rules = rules._replace(inline_below_ns=0.0)
        batcher = Batcher(admission, costs, rules)
        runs = self._instruments.runs_of(key.model, key.version)
        signature = bounded(manifest.signature, limits.max_rows, limits.max_elements)
        timeout_s = manifest.runtime.run_timeout_s or limits.run_timeout_s
        return Runner(
            predictor,
            batcher,
            costs,
            self._workers,
            runs,
            self._on_run,
            batched=independent,
            signature=signature,
            run_timeout_s=timeout_s,
            on_timed_out=None if self._on_timed_out is None else partial(self._on_timed_out, key, timeout_s),
            needs=needs,
        )


def rules_of(batching: Batching, scheduling: SchedulingConfig, parallel: int) -> Rules:
    """Return how a version's requests are put together: as its manifest says, or else the configuration."""
    max_rows = scheduling.max_batch_rows if batching.max_rows is None else batching.max_rows
    delay_us = scheduling.max_batch_delay_us if batching.max_delay_us is None else batching.max_delay_us
    return Rules(max_rows, delay_us / 1e6, scheduling.inline_below_us * 1e3, parallel)
