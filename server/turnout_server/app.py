"""The composition root: makes everything, in order, and lets go of it in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import uvloop

from turnout_server.config import Config, SchedulingConfig
from turnout_server.execution.runner import Runner
from turnout_server.execution.workers import Workers
from turnout_server.gateway.data_plane import DataPlane
from turnout_server.gateway.live_catalog import LiveCatalog
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.gateway.spans import Spans
from turnout_server.gateway.view import View
from turnout_server.instruments.instruments import Instruments
from turnout_server.instruments.loop_lag import watching
from turnout_server.onnx.loader import load
from turnout_server.release import release
from turnout_server.rpc.server import listening
from turnout_server.rpc.services import services_of
from turnout_server.scheduling.admission import Admission, Bounds, Room
from turnout_server.scheduling.batcher import Batcher, Rules
from turnout_server.scheduling.cost import CostModel
from turnout_server.scheduling.shares import Shares
from turnout_server.serving.manager import Manager
from turnout_server.serving.state import State, VersionStatus
from turnout_server.serving.version_policy import Latest
from turnout_server.store.local import LocalFiles
from turnout_server.store.manifest import Batching
from turnout_server.store.store import DirectoryStore
from turnout_server.telemetry import telemetry
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.versions import VersionKey

_log = structlog.get_logger("turnout.app")
THREADS_A_RUN = 4
FEWEST_THREADS = 16
"""Every version may have a run under way, as far as there are threads; the system divides the cores among them."""


class Started(NamedTuple):
    """A gateway that serves."""

    address: str
    """HOST:PORT of gRPC."""
    metrics: str | None
    """HOST:PORT of the Prometheus text; None when there is none."""
    view: View
    """The routes being served, and the version that each label gets."""
    table_problem: str
    """Why the table in the store is not the one being served; empty when it is."""
    failed: tuple[VersionStatus, ...]
    """The versions that could not be loaded."""


async def serve(config: Config, started: Callable[[Started], None], stop: asyncio.Event) -> None:
    """Serve until *stop* is set, then end in good order.

    Args:
        config: everything.
        started: told once, when the first look at the store has been acted on and health is SERVING.
        stop: ends it.

    Raises:
        ConfigurationError: an address cannot be listened on.
        StoreError: the store cannot be read.
    """
    async with contextlib.AsyncExitStack() as stack:
        reports = stack.enter_context(telemetry(config.telemetry, release()))
        instruments, spans = reports.instruments, reports.spans
        store = DirectoryStore(Path(config.store.path))
        await asyncio.to_thread(store.snapshot)  # an unreadable store should end the process before a port is bound
        workers = stack.enter_context(_working(config, instruments))
        manager = await stack.enter_async_context(_managing(config, store, workers, instruments, spans))
        reconciler = Reconciler(
            store,
            manager,
            Latest(config.store.latest),
            routes_file=Path(config.store.routes) if config.store.routes else None,
            on_table=instruments.record_reload,
        )
        manager.subscribe(lambda status, error: reconciler.version_changed())
        mirrors = config.limits.mirrors_in_flight
        data_plane = DataPlane(reconciler, manager, instruments, spans, mirrors_in_flight=mirrors)
        catalog = LiveCatalog(store, reconciler, manager, data_plane, allow_changes=config.allow_changes)
        stack.enter_context(watching(asyncio.get_running_loop(), instruments.loop_lag))
        ready = asyncio.Event()
        services = services_of(data_plane, catalog, config, ready.is_set)
        server = await stack.enter_async_context(
            listening(config.listen, services, instruments, spans, config.limits, config.grace_s, config.transport)
        )
        await reconciler.look()
        await stack.enter_async_context(_background(reconciler.poll(config.store.poll_s)))
        await _first_of(reconciler.settle(), stop.wait())
        if not stop.is_set():
            ready.set()
            server.health.set_serving(True)
            failed = tuple(status for status in manager.status() if status.state is State.FAILED)
            started(Started(server.address, reports.metrics_address, reconciler.view, reconciler.table_problem, failed))
        await stop.wait()
        ready.clear()
        _log.info("stopping")


def run(config: Config, started: Callable[[Started], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second one does not wait for calls in progress.

    Raises:
        TurnoutError: the gateway could not start; see `serve`.
    """

    async def main() -> None:
        stop = asyncio.Event()
        task = asyncio.current_task()
        assert task is not None

        def on_signal() -> None:
            if stop.is_set():
                task.cancel()
            stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await serve(config, started, stop)

    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(main())


@contextlib.contextmanager
def _working(config: Config, instruments: Instruments) -> Iterator[Workers]:
    cores, limit = usable_cores(), _most_runs(config)
    threads = max(limit * THREADS_A_RUN, FEWEST_THREADS)
    with ThreadPoolExecutor(threads, "worker") as executor:
        loop = asyncio.get_running_loop()
        yield Workers(loop, executor, Shares(cores, limit, threads), lambda: instruments.in_flight <= 1)


def _most_runs(config: Config) -> int:
    return config.scheduling.workers or usable_cores() + 1


def usable_cores() -> int:
    """Return how many cores this process may use: a container's CPU set may be smaller than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rules_of(batching: Batching, scheduling: SchedulingConfig, parallel: int) -> Rules:
    """Return how a version's requests are put together: as its manifest says, or else the configuration."""
    max_rows = scheduling.max_batch_rows if batching.max_rows is None else batching.max_rows
    delay_us = scheduling.max_batch_delay_us if batching.max_delay_us is None else batching.max_delay_us
    return Rules(max_rows, delay_us / 1e6, scheduling.inline_below_us * 1e3, parallel)


@contextlib.asynccontextmanager
async def _managing(
    config: Config, store: DirectoryStore, workers: Workers, instruments: Instruments, spans: Spans
) -> AsyncIterator[Manager[Runner]]:
    limits, scheduling = config.limits, config.scheduling
    total = Room(Bounds(limits.queue_total_rows, limits.queue_total_bytes))
    own = Bounds(limits.queue_rows, limits.queue_bytes)
    wait_s = limits.queue_wait_ms / 1e3
    on_run = spans.batch_ran if spans.enabled else None

    local = LocalFiles(store)

    def load_version(key: VersionKey) -> Runner:
        manifest, directory = local.verified(key.model, key.version)
        servable, measured, independent = load(directory, manifest)
        if manifest.signature.has_batch_axis and not independent:
            problem = "rows of one batch change each other's answers; serving one request at a time"
            _log.warning("version is not batched", model=key.model, version=key.version, problem=problem)
        costs = CostModel(measured)
        admission = Admission(*key, own, total, wait_s=wait_s, patient=limits.queue_requests)
        batcher = Batcher(
            admission, costs, rules_of(manifest.batching, scheduling, min(_most_runs(config), usable_cores()))
        )
        runs = instruments.runs_of(key.model, key.version)
        return Runner(servable, batcher, costs, workers, runs, on_run, batched=independent)

    manager: Manager[Runner] = Manager(load_version, Runner.close, loaders=config.store.loaders)
    manager.subscribe(_log_change)
    manager.subscribe(lambda status, error: instruments.record_state(status))
    try:
        yield manager
    finally:
        await manager.close()


def _log_change(status: VersionStatus, error: BaseException | None) -> None:
    where = {"model": status.key.model, "version": status.key.version}
    if status.state is State.FAILED:
        expected = isinstance(error, TurnoutError)
        _log.error("version cannot be served", **where, problem=status.detail, exc_info=None if expected else error)
    elif status.state is State.AVAILABLE:
        _log.info("version available", **where)
    elif status.state is State.STORED:
        _log.info("version unloaded", **where)
    else:
        _log.debug("version changes", **where, state=status.state.value)


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _first_of(*works: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
