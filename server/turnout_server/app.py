"""The composition root: makes everything, in order, and lets go of it in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog
import uvloop

from turnout_server import ends, machine
from turnout_server.background import first_of, in_background
from turnout_server.config import Config
from turnout_server.engine import choice
from turnout_server.engine.plane import EnginePlane
from turnout_server.engine.shares import EngineShares
from turnout_server.execution.loading import Loading, needed_bytes, opening, trial_memory_bytes
from turnout_server.execution.runner import Runner, start_chosen
from turnout_server.execution.workers import Workers, most_runs, most_threads, usable_cores, working
from turnout_server.gateway.administration import Administration
from turnout_server.gateway.catalog import Catalog
from turnout_server.gateway.data_plane import DataPlane
from turnout_server.gateway.mirrors import Mirrors
from turnout_server.gateway.names import LiveNames
from turnout_server.gateway.native import NativePlane
from turnout_server.gateway.native_copies import NativeCopies
from turnout_server.gateway.readiness import Readiness
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.gateway.shadow import Comparer
from turnout_server.instruments.instruments import Instruments
from turnout_server.instruments.loop_lag import watching
from turnout_server.instruments.routes import RouteInstruments, Standing
from turnout_server.journal.boot import Boot, identify
from turnout_server.keeping import recording, taking
from turnout_server.onnx.children import Children
from turnout_server.onnx.extensions import require
from turnout_server.onnx.loader import binding
from turnout_server.onnx.session import OpenSession
from turnout_server.pool import Pool
from turnout_server.release import release
from turnout_server.routing.view import View
from turnout_server.rpc.server import listening
from turnout_server.rpc.services import READERS, services_of
from turnout_server.serving.manager import Manager, lower_priority
from turnout_server.serving.overruns import MOST, Overruns
from turnout_server.serving.state import State, VersionStatus
from turnout_server.serving.version_policy import Latest
from turnout_server.serving.warm import Warm
from turnout_server.store.local import LocalFiles
from turnout_server.store.manifest import Manifest
from turnout_server.store.patience import Patience
from turnout_server.store.store import DirectoryStore
from turnout_server.telemetry import Telemetry, logs, telemetry
from turnout_server.transport.status import name_of_reason
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.versions import VersionKey

_log = structlog.get_logger("turnout.app")
_MOST_LOOKING = 32
"""How many threads look at the store, and do other things that may wait for a disk, at once."""


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
    why_not: str
    """Why the gateway is NOT_SERVING; empty when it is SERVING."""


async def serve(config: Config, started: Callable[[Started], None], stop: asyncio.Event) -> None:
    """Serve until *stop* is set, then end in good order.

    Args:
        config: everything.
        started: told once, when every version that was wished for has been tried. Health is SERVING then, or says why
            it isn't.
        stop: ends it.

    Raises:
        ConfigurationError: an address cannot be listened on, or what it asks for is not installed.
        StoreError: the store cannot be read.
    """
    async with contextlib.AsyncExitStack() as stack:
        if config.onnx.extensions is True:
            require()
        reports = stack.enter_context(telemetry(config.telemetry, release()))
        instruments, spans = reports.instruments, reports.spans
        store = DirectoryStore(Path(config.store.path))
        boot = identify(config.journal.instance)
        chosen = choice.chosen(config, choice.find())
        engine = _engine_plane(config, boot, reports) if chosen.name == "engine" else None
        workers = stack.enter_context(_working(config, lambda: instruments.in_flight <= 1, engine))
        on_run = spans.batch_ran if spans.enabled else None
        # As loaders do: what they wait for is their work.
        patience = Patience(config.store.load_timeout_s, begin=lower_priority)
        instruments.stuck_reads = lambda: store.stuck + patience.stuck
        local = stack.enter_context(contextlib.closing(LocalFiles(store, patience)))
        open_session = _engine_sessions() if chosen.name == "engine" else binding()
        extensions = config.onnx.extensions is not False
        children = Children(
            "engine" if chosen.name == "engine" else "binding",
            config.store.load_timeout_s,
            trial_memory_bytes(config.store.load_memory_mb),
            extensions,
        )
        loop = asyncio.get_running_loop()

        def make_room(manifest: Manifest) -> None:  # in a loader's thread
            needed, free = needed_bytes(manifest), machine.available_bytes()
            if needed > free:
                key = VersionKey(manifest.model, manifest.version)
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(reconciler.make_room, key, needed, free)

        open_version = opening(local, children, open_session, extensions, make_room, patience)
        overruns = Overruns()

        def timed_out(key: VersionKey, timeout_s: float, well: int) -> None:
            count = overruns.note(key, timeout_s, time.monotonic(), well)
            where = {"model": key.model, "version": key.version}
            _log.error("a run took too long and was ended", **where, run_timeout_s=timeout_s)
            if count == MOST:
                manager.withdraw(key, f"withdrawn: {count} runs took longer than {timeout_s:g} s (run_timeout_s)")

        limits, scheduling = config.limits, config.scheduling
        loading = Loading(
            open_version, workers, instruments, limits, scheduling, on_run, engine, timed_out, config.models
        )
        loaders = config.store.loaders or usable_cores()
        manager = await stack.enter_async_context(_managing(loading, loaders, instruments))
        # Before the manager, which waits for what is under way.
        stack.callback(children.close)
        stack.callback(workers.end_runs)
        names = LiveNames(manager)
        instruments.include(RouteInstruments(lambda: _standing(names.view)))
        native = None if engine is None else NativePlane(engine, names, manager, instruments, name_of_reason)
        if native is not None and (sender := spans.native) is not None:
            native.spans_unsent = lambda: sender.unsent
        reconciler = Reconciler(
            store,
            names,
            manager,
            Latest(config.store.latest),
            routes_file=Path(config.store.routes) if config.store.routes else None,
            on_table=instruments.record_reload,
            on_look=instruments.record_look,
            warm=Warm(config.store.keep_warm_s, config.store.keep_warm_versions),
        )
        manager.subscribe(lambda status, error: reconciler.version_changed())
        records = recording(config.journal, boot, instruments, stack, native)
        take_outcomes = taking(config, boot, instruments, stack, native)
        comparer = stack.enter_context(Comparer(asyncio.get_running_loop().call_soon_threadsafe))
        mirrored = config.limits.mirrors_in_flight
        mirrors = Mirrors(names, manager, instruments, records, mirrored, random.random, comparer)
        copies = None if native is None else NativeCopies(native.plane, names, mirrors, READERS)
        if copies is not None:
            stack.callback(copies.close)
        stack.callback(mirrors.close)
        data_plane = DataPlane(names, manager, records, spans, mirrors)
        catch_up = (lambda: None) if native is None else native.catch_up
        readiness = Readiness(names, reconciler, manager, config.health.required_routes)
        catalog = Catalog(
            store,
            names,
            reconciler,
            manager,
            before_statistics=catch_up,
            unclear=lambda: readiness.standing.names,
        )
        administration = Administration(store, names, reconciler, manager, allow_changes=config.allow_changes)
        stack.enter_context(watching(asyncio.get_running_loop(), instruments.loop_lag))
        # Before a port is bound: an unreadable store should end the process, and nobody should be told that a route
        # does not exist because nobody has looked yet.
        await first_of(reconciler.first_look(), stop.wait())
        if stop.is_set():
            return
        if config.outdated:
            _log.warning("outdated setting", problem=config.outdated)
        _log.info("data plane", name=chosen.name, why=chosen.why)
        services = services_of(
            data_plane, catalog, administration, config, lambda: readiness.is_ready, spans, instruments, take_outcomes
        )
        server = await stack.enter_async_context(
            listening(
                config.listen,
                services,
                instruments,
                spans,
                config.limits,
                config.grace_s,
                chosen.name,
                native=native,
                errors=config.errors,
            )
        )
        readiness.subscribe(server.health.show)
        if native is not None:
            await stack.enter_async_context(in_background("native", native.follow, instruments.record_restart))
        if copies is not None:
            await stack.enter_async_context(in_background("copies", copies.follow, instruments.record_restart))
        await stack.enter_async_context(
            in_background("store", partial(reconciler.poll, config.store.poll_s), instruments.record_restart)
        )
        await first_of(reconciler.settle(), stop.wait())
        if not stop.is_set():
            if native is not None:
                native.publish()  # who is told that the gateway serves should meet the engine
            readiness.begin()
            failed = tuple(manager.failed())
            problem, why = reconciler.table_problem, readiness.standing.server
            started(Started(server.address, reports.metrics_address, names.view, problem, failed, why))
            logs.speak_up()
        await stop.wait()
        readiness.end()
        _log.info("stopping")


def run(config: Config, started: Callable[[Started], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second one does not wait for calls in progress.

    Where a thread is stuck then, the process is left hard: as soon as all else has ended, and not later than
    `ends.LEAVING_S` after the grace period. It exits with `ends.STUCK_CODE`, or with 0 where only loads and looks at
    the store are left behind.

    Raises:
        TurnoutError: the gateway could not start; see `serve`.
    """
    departure = ends.Departure(os._exit, logs.flush)

    async def main() -> None:
        stop = asyncio.Event()
        task = asyncio.current_task()
        assert task is not None
        signals = itertools.count()

        def on_signal() -> None:
            if stop.is_set():
                task.cancel()
            stop.set()

        def told() -> None:  # in a thread
            departure.begin(ends.LEAVING_S + (0.0 if next(signals) else config.grace_s))
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(on_signal)

        loop = asyncio.get_running_loop()
        loop.set_default_executor(Pool(_MOST_LOOKING, "asyncio"))
        with ends.heeding(told, (signal.SIGTERM, signal.SIGINT)):
            await serve(config, started, stop)

    try:
        with contextlib.suppress(asyncio.CancelledError):
            uvloop.run(main())
    except BaseException:
        if ends.left_behind():  # what went wrong is said first
            departure.begin(ends.PATIENCE_S)
        raise
    if left := ends.left_behind():
        os._exit(ends.code_for(left))
    departure.over()


def _engine_sessions() -> OpenSession:
    # Only where it was chosen, as below.
    from turnout_server.onnx import engine

    engine.load()  # that there is no ONNX Runtime should show now, and not with the first model
    return engine.open_session


def _engine_plane(config: Config, boot: Boot, reports: Telemetry) -> EnginePlane:
    runs = most_runs(config.scheduling.workers)
    most_records = config.journal.ring_records if config.journal.path is not None else 0
    sender = reports.spans.native
    sampling = None if sender is None else sender.sampling()
    plane = EnginePlane(
        config.limits,
        runs,
        most_threads(runs),
        boot.boot,
        most_records=most_records,
        tracing=sampling,
        answers_as_sent=config.open_inference.answers == "as_sent",
    )
    if sender is not None and sampling is not None:
        sender.follow(plane.spans)
    return plane


@contextlib.contextmanager
def _working(config: Config, alone: Callable[[], bool], engine: EnginePlane | None) -> Iterator[Workers]:
    if engine is None:
        with working(config.scheduling.workers, alone) as workers:
            yield workers
        return
    shares = EngineShares(engine, usable_cores())
    with (
        working(config.scheduling.workers, alone, shares) as workers,
        shares.telling(workers.loop, partial(start_chosen, shares)),
    ):
        yield workers


def _standing(view: View) -> Standing:
    return Standing(view.table.digest, view.table.revision, view.epochs)


@contextlib.asynccontextmanager
async def _managing(loading: Loading, loaders: int, instruments: Instruments) -> AsyncIterator[Manager[Runner]]:
    manager: Manager[Runner] = Manager(loading.load, Runner.close, loaders=loaders)
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
