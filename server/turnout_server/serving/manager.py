"""What is loaded: performs what the transition policy decides, off the request path, and hands out leases."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any, Generic, TypeVar

import structlog

from turnout_server.ends import PATIENCE_S
from turnout_server.pool import Pool
from turnout_server.serving.harness import Harness, Lease
from turnout_server.serving.state import State, VersionStatus
from turnout_server.serving.transition_policy import Load, Snapshot, Unload, next_action
from turnout_server.vocabulary.errors import TurnoutError, VersionUnavailableError
from turnout_server.vocabulary.versions import VersionKey

_log = structlog.get_logger("turnout.manager")

S = TypeVar("S")

Changed = Callable[[VersionStatus, BaseException | None], None]
LOADER_NICENESS = 10


class Manager(Generic[S]):
    """Loads and unloads versions until what serves is what is aspired. Use it on the event loop's thread only."""

    def __init__(
        self,
        load: Callable[[VersionKey], S],
        unload: Callable[[S], None],
        *,
        loaders: int = 1,
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
    ) -> None:
        """Make a manager of nothing.

        Args:
            load: makes a version ready to serve, verified and warmed up; runs in a loader thread. A `TurnoutError` that
                it raises becomes the version's state detail word for word; of any other error only the type does.
            unload: gives a drained version's memory back; runs in a loader thread.
            loaders: how many versions may load at the same time.
            clock: seconds, monotonic.
            executor: where *load* and *unload* run; None for threads of the manager's own. `close` shuts it down.
        """
        self._load = load
        self._unload = unload
        self._loaders = loaders
        self._listeners: list[Changed] = []
        self._clock = clock
        self._harnesses: dict[VersionKey, Harness[S]] = {}
        self._models: dict[str, dict[VersionKey, Harness[S]]] = {}
        """The same, by model: the policy looks at one model at a time, for a look at all costs as much as a load."""
        self._by_model: dict[str, list[int]] = {}
        self._waiting: set[str] = set()
        """Models that may have something to load once a loader is free."""
        self._loading: set[VersionKey] = set()
        self._failed: set[VersionKey] = set()
        self._aspired: frozenset[VersionKey] = frozenset()
        self._in_use: frozenset[VersionKey] = frozenset()
        self._executor = executor or Pool(loaders + 1, "loader", lower_priority, loses_nothing=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._closing = False
        self._closed = False

    def subscribe(self, listener: Changed) -> None:
        """Have *listener* called after every change of a version's state, with what made it fail, if it failed.

        It must not call back into the manager: that is in the middle of something. What it raises changes nothing.
        """
        self._listeners.append(listener)

    # ------------------------------------------------------------ the wish

    def aspire(self, wish: frozenset[VersionKey], in_use: frozenset[VersionKey] = frozenset()) -> None:
        """State the whole wish; what it no longer names is unloaded when that costs no availability.

        Args:
            wish: every version that should be loaded.
            in_use: versions that serve routes or labels at this moment, and stay until they no longer do.
        """
        changed = {key.model for key in (wish ^ self._aspired) | (in_use ^ self._in_use) | self._failed}
        self._aspired, self._in_use = wish, in_use
        for key in wish - self._harnesses.keys():
            self._add(key)
        known = (one for model in changed for one in self._models.get(model, {}).values())
        dropped = [one.key for one in known if one.state is State.STORED and one.key not in wish]
        for key in dropped:
            self._remove(key)
        if dropped:
            self._wake_waiters()
        self._reconcile(changed)

    def retry(self, model: str) -> None:
        """Try the failed versions of *model* again now rather than later."""
        for harness in self._models.get(model, {}).values():
            if harness.state is State.FAILED:
                harness.retry_at = self._clock()
        self._reconcile((model,))

    def withdraw(self, key: VersionKey, problem: str) -> None:
        """Unload a version that is AVAILABLE, though it is wished for and though no other one is; then it has failed.

        Args:
            key: the version.
            problem: why, which becomes its state's detail.
        """
        harness = self._harnesses.get(key)
        if harness is None or harness.state is not State.AVAILABLE or self._closing:
            return
        harness.drain(then=lambda: self._spawn(self._perform_unload(harness, problem)))
        harness.detail = problem
        self._announce(harness)

    # ------------------------------------------------------------ the hot path

    def lease(self, key: VersionKey) -> Lease[S]:
        """Take hold of a version.

        Raises:
            VersionUnavailableError: it is not AVAILABLE here, or not known here at all.
        """
        harness = self._harnesses.get(key)
        if harness is None:
            raise VersionUnavailableError(key.model, key.version, State.STORED.value)
        return harness.lease()

    def latest(self, model: str) -> int:
        """Return the newest AVAILABLE version of *model*; 0 when there is none."""
        versions = self._by_model.get(model)
        return versions[-1] if versions else 0

    def available(self, model: str) -> tuple[int, ...]:
        """Return the AVAILABLE versions of *model*, ascending."""
        return tuple(self._by_model.get(model, ()))

    # ------------------------------------------------------------ looking

    def is_available(self, key: VersionKey) -> bool:
        """Say whether a version can be leased now."""
        harness = self._harnesses.get(key)
        return harness is not None and harness.state is State.AVAILABLE

    def peek(self, key: VersionKey) -> S | None:
        """Return an AVAILABLE version's servable for a look, without holding it; None otherwise."""
        harness = self._harnesses.get(key)
        return harness.peek() if harness is not None else None

    def status(self) -> Iterator[VersionStatus]:
        """Yield every version that is wished for or not yet gone."""
        for key, harness in self._harnesses.items():
            yield VersionStatus(key, harness.state, harness.detail)

    def status_of(self, key: VersionKey) -> VersionStatus | None:
        """Return one version's status, if it is wished for or not yet gone."""
        harness = self._harnesses.get(key)
        return VersionStatus(key, harness.state, harness.detail) if harness is not None else None

    @property
    def settled(self) -> bool:
        """Whether every wished version is AVAILABLE or FAILED and nothing else is loaded or under way."""
        return not self._tasks and all(
            harness.state in (State.AVAILABLE, State.FAILED) for harness in self._harnesses.values()
        )

    @property
    def tried(self) -> bool:
        """Whether every wished version is AVAILABLE or has failed, though it may be tried again at this moment."""
        harnesses = map(self._harnesses.get, self._aspired)
        return all(each is not None and (each.state is State.AVAILABLE or each.attempts > 0) for each in harnesses)

    def failed(self) -> Iterator[VersionStatus]:
        """Yield the versions whose last load failed as they were then, whether or not they are tried again."""
        for key, harness in self._harnesses.items():
            if harness.attempts > 0:
                yield VersionStatus(key, State.FAILED, harness.problem)

    async def wait_changed(self) -> None:
        """Wait until some version's state changes, or what led there is over."""
        await self._changed.wait()

    # ------------------------------------------------------------ performing

    def _reconcile(self, models: Iterable[str]) -> None:
        """Do what is to be done in *models*, where something has changed, and load what waits for a loader."""
        if self._closing:
            return
        for model in models:
            self._waiting.add(model)
            while self._act(model, 0):
                pass
        while self._waiting and (free := self._loaders - len(self._loading)) > 0:
            model = self._next_waiting()
            if not self._act(model, free):
                self._waiting.discard(model)
        self._arm_retry()

    def _next_waiting(self) -> str:
        """Return the model whose turn it is.

        Failures are tried again when all others had their turn, those first that had the fewest: a few versions that
        take as long as they may, and fail, would otherwise keep the loaders from the others for good.
        """
        untried = self._waiting - {key.model for key in self._failed}
        if untried:
            return min(untried)
        return min(self._waiting, key=lambda model: (self._attempts(model), model))

    def _attempts(self, model: str) -> int:
        """Return how often that version of *model* has failed that has failed least, of those not loaded."""
        harnesses = self._models.get(model, {}).values()
        idle = (State.STORED, State.FAILED)
        return min((harness.attempts for harness in harnesses if harness.state in idle), default=0)

    def _act(self, model: str, free_loaders: int) -> bool:
        """Do the next thing in *model*; return whether there was one."""
        match next_action(self._snapshots(model), free_loaders):
            case Load(key):
                self._start_load(self._harnesses[key])
            case Unload(key):
                self._start_unload(self._harnesses[key])
            case None:
                return False
        return True

    def _snapshots(self, model: str) -> dict[VersionKey, Snapshot]:
        now = self._clock()
        return {
            key: Snapshot(harness.state, key in self._aspired, key in self._in_use, now >= harness.retry_at)
            for key, harness in self._models.get(model, {}).items()
        }

    def _start_load(self, harness: Harness[S]) -> None:
        harness.loading()
        self._failed.discard(harness.key)
        self._loading.add(harness.key)
        self._announce(harness)
        self._spawn(self._perform_load(harness))

    async def _perform_load(self, harness: Harness[S]) -> None:
        loop = asyncio.get_running_loop()
        try:
            servable = await loop.run_in_executor(self._executor, self._load, harness.key)
        except Exception as error:  # whatever a broken model does, the process goes on
            problem = (
                error.message if isinstance(error, TurnoutError) else f"could not be loaded ({type(error).__name__})"
            )
            harness.failed(problem, self._clock())
            self._failed.add(harness.key)
            self._loading.discard(harness.key)
            if not self._closing:  # what is given up at the end is nobody's failure
                self._announce(harness, error)
        else:
            harness.loaded(servable)
            self._loading.discard(harness.key)
            self._announce(harness)
        self._reconcile((harness.key.model,))

    def _start_unload(self, harness: Harness[S]) -> None:
        if harness.state is State.FAILED:
            self._remove(harness.key)
            self._tell(VersionStatus(harness.key, State.STORED), None)
            return
        harness.drain(then=lambda: self._spawn(self._perform_unload(harness)))
        self._announce(harness)

    async def _perform_unload(self, harness: Harness[S], problem: str = "") -> None:
        servable = harness.take()
        if servable is not None and not self._closed:
            loop = asyncio.get_running_loop()
            try:
                future = loop.run_in_executor(self._executor, self._unload, servable)
                # Nothing here may keep the servable alive while the loader thread gives its memory back.
                del servable
                await future
            except Exception as error:
                loop.call_exception_handler({"message": f"unloading {harness.key} failed", "exception": error})
        if problem and harness.key in self._aspired:
            harness.withdrawn(problem, self._clock())
            self._failed.add(harness.key)
            self._announce(harness)
            self._reconcile((harness.key.model,))
            return
        self._remove(harness.key)
        if harness.key in self._aspired:
            self._add(harness.key)
        self._tell(VersionStatus(harness.key, State.STORED), None)
        self._reconcile((harness.key.model,))

    def _add(self, key: VersionKey) -> None:
        self._harnesses[key] = self._models.setdefault(key.model, {})[key] = Harness(key)

    def _remove(self, key: VersionKey) -> None:
        del self._harnesses[key]
        self._failed.discard(key)
        siblings = self._models[key.model]
        del siblings[key]
        if not siblings:
            del self._models[key.model]

    def _announce(self, harness: Harness[S], error: BaseException | None = None) -> None:
        versions = self._by_model.setdefault(harness.key.model, [])
        if harness.state is State.AVAILABLE:
            versions.append(harness.key.version)
            versions.sort()
        elif harness.key.version in versions:
            versions.remove(harness.key.version)
        if not versions:
            del self._by_model[harness.key.model]
        self._tell(VersionStatus(harness.key, harness.state, harness.detail), error)

    def _tell(self, status: VersionStatus, error: BaseException | None) -> None:
        for listener in self._listeners:
            try:
                listener(status, error)
            except Exception as failure:
                # A log that cannot be written must not stop versions from coming and going.
                context = {"message": f"a listener failed on {status.key}", "exception": failure}
                asyncio.get_running_loop().call_exception_handler(context)
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _arm_retry(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waits = {key: self._harnesses[key].retry_at for key in self._failed & self._aspired}
        if waits:
            delay = max(0.05, min(waits.values()) - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._retry_due)

    def _retry_due(self) -> None:
        self._reconcile({key.model for key in self._failed})

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake_waiters()  # it may be settled now

    async def close(self) -> None:
        """Wait for what is under way, then unload everything; leases still held keep their version in memory.

        Loads, and then unloads, are waited for `PATIENCE_S` seconds; those that take longer are left behind.
        """
        self._closing = True
        self._aspired = self._in_use = frozenset()
        if self._timer is not None:
            self._timer.cancel()
        await self._finish()
        for harness in [harness for harness in self._harnesses.values() if harness.state is State.AVAILABLE]:
            self._start_unload(harness)
        await self._finish()
        self._closed = True
        if self._tasks:
            unfinished = [harness.key for harness in self._harnesses.values() if harness.is_busy]
            _log.warning("versions do not end loading or unloading", versions=[str(key) for key in unfinished])
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def _finish(self) -> None:
        ends = time.monotonic() + PATIENCE_S
        while self._tasks and (left := ends - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)


def lower_priority() -> None:
    """Let requests go before loads, where the system can tell threads apart."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADER_NICENESS)
