"""A gateway without a transport: a real store in a directory, real routing and serving, and models that do as told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.serving.fakes import ManualExecutor, turns
from turnout_server.config import LimitsConfig, SchedulingConfig
from turnout_server.execution.loading import Loading, Opened
from turnout_server.execution.runner import Runner
from turnout_server.execution.workers import Workers
from turnout_server.gateway.administration import Administration
from turnout_server.gateway.catalog import Catalog
from turnout_server.gateway.data_plane import DataPlane
from turnout_server.gateway.mirrors import Mirrors
from turnout_server.gateway.names import LiveNames
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.gateway.records import Records
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.instruments import Instruments, Runs
from turnout_server.scheduling.shares import Shares
from turnout_server.serving.manager import Manager
from turnout_server.serving.state import State
from turnout_server.serving.version_policy import Latest
from turnout_server.serving.warm import Warm
from turnout_server.store.manifest import Manifest
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import InvalidModelError, TurnoutError
from turnout_server.vocabulary.query import Query
from turnout_server.vocabulary.record import Record
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays
from turnout_server.vocabulary.versions import VersionKey

SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (-1, 1)),),
    (TensorSpec("y", DType.FP32, (-1, 1)), TensorSpec("version", DType.INT64, (-1,))),
)
CORES, THREADS = 2, 8


def manifest(version: int = 1, task: Task = Task.TENSORS, signature: Signature = SIGNATURE) -> Manifest:
    """Return the manifest of a version of `price`."""
    return Manifest(1, "price", version, task, "2026-01-01T00:00:00Z", (), signature)


def count_run(runs: Runs, queue_ns: int, run_ns: int, rows: int) -> None:
    """Count a run of *rows* rows that took *run_ns*, and its only request, which waited *queue_ns*."""
    runs.queue.add(queue_ns)
    runs.run.add(run_ns)
    runs.rows.add(rows)


class Predictor:
    """`y` is `x` times ten; `version` is the version's number, for each row."""

    native: object | None = None

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.runs = 0
        self.error: Exception | None = None
        self.closed = False

    def ending(self) -> Any:
        return None

    def run(self, inputs: Arrays, outputs: tuple[str, ...] = (), ending: Any = None) -> list[Array]:
        assert not self.closed, "run after it was unloaded"
        self.runs += 1
        if self.error is not None:
            raise self.error
        x = inputs["x"]
        known = {"y": x * 10, "version": np.full(len(x), self.manifest.version)}
        return [known[name] for name in outputs or known]

    def close(self) -> None:
        self.closed = True


def query(name: str = "price", x: float = 1.0, rows: int = 1, **fields: Any) -> Query:
    """Return a query of *rows* rows."""
    array = np.full((rows, 1), x, np.float32)
    return Query(name=name, prepare=fields.pop("prepare", lambda signature: {"x": array}), **fields)


def table(*targets: str, route: str = "price", task: str = "tensors", more: str = "") -> str:
    """Return a route table with one route; a target is `NAME MODEL VERSION WEIGHT`."""
    lines = [f"routes:\n  {route}:\n    task: {task}\n    salt: s\n    targets:"]
    for target in targets:
        name, model, version, weight = target.split()
        lines.append(f"      - {{name: {name}, model: {model}, version: {version}, weight: {weight}}}")
    return "\n".join(lines) + "\n" + more


class World:
    """Everything, on the running loop. Loads and runs happen at once unless they are held."""

    def __init__(
        self,
        root: Path,
        *,
        latest: int = 1,
        slow: bool = False,
        draw: Callable[[], float] = lambda: 0.0,
        keep_warm_s: float = 0.0,
    ) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        self.now = 1000.0
        self.held: set[VersionKey] = set()
        """Versions whose loads wait."""
        self.broken: set[VersionKey] = set()
        self.predictors: dict[VersionKey, Predictor] = {}
        self.runs = ManualExecutor()
        """Where slow models run."""
        self.loads = ManualExecutor(lambda args: args[0] in self.held)
        self.instruments = Instruments()
        self.store = DirectoryStore(root)
        workers = Workers(asyncio.get_running_loop(), self.runs, Shares(CORES, CORES, THREADS))

        def open_version(key: VersionKey) -> Opened:
            if key in self.broken:
                raise InvalidModelError(f"{key} is broken")
            predictor = self.predictors[key] = Predictor(self.store.verify(*key))
            return Opened(predictor, {1: 1}, needs={1: 100})

        limits = LimitsConfig(queue_rows=8, queue_bytes=1 << 20, queue_wait_ms=1e9)
        scheduling = SchedulingConfig(workers=1, max_batch_rows=1, inline_below_us=0.0 if slow else 1e9)
        loading = Loading(open_version, workers, self.instruments, limits, scheduling)
        self.manager: Manager[Runner] = Manager(loading.load, Runner.close, clock=lambda: self.now, executor=self.loads)
        self.reloads: list[str] = []
        self.names = LiveNames(self.manager, clock=lambda: self.now)
        self.reconciler = Reconciler(
            self.store,
            self.names,
            self.manager,
            Latest(latest),
            on_table=self.reloads.append,
            warm=Warm(keep_warm_s),
            clock=lambda: self.now,
        )
        self.manager.subscribe(lambda status, error: self.reconciler.version_changed())
        self.ended: list[Record] = []
        """The records of all requests."""
        records = Records([self.instruments.read, self.ended.append], "boot")
        mirrors = Mirrors(self.names, self.manager, self.instruments, records, 2, draw, patience_s=0.0)
        self.data_plane = DataPlane(self.names, self.manager, records, Spans(), mirrors, draw=draw)
        self.catalog = Catalog(self.store, self.names, self.reconciler, self.manager, draw=draw)
        self.administration = Administration(self.store, self.names, self.reconciler, self.manager, allow_changes=True)

    # ------------------------------------------------------------ the store

    def publish(
        self, model: str = "price", *labels: str, task: Task = Task.TENSORS, signature: Signature = SIGNATURE
    ) -> VersionKey:
        """Publish a version; its file is a stand-in."""
        file = self.root.parent / "graph"
        file.write_bytes(b"graph")
        made = publish(
            self.root,
            Draft(model=model, task=task, signature=signature, files={"model.onnx": file}),
            labels=labels,
            champion=False,
        )
        return VersionKey(model, made.version)

    def routes(self, text: str) -> None:
        """Write the route table."""
        (self.root / "routes.yaml").write_text(text)

    async def look(self) -> None:
        """Look at the store, and let what follows from it happen."""
        await self.reconciler.look()
        await turns()

    async def start(self) -> World:
        """Look, and wait until everything is there."""
        await self.look()
        await self.reconciler.settle()
        return self

    async def released(self, key: VersionKey) -> None:
        """Let a held load go on."""
        self.held.discard(key)
        (index,) = [index for index, job in enumerate(self.loads.jobs) if job.args == (key,)]
        self.loads.release(index)
        await turns()

    # ------------------------------------------------------------ requests

    async def version(self, **fields: Any) -> int:
        """Send a request, and return the version that answered."""
        prediction = await self.data_plane.infer(query(**fields))
        assert prediction.outputs["version"].tolist() == [prediction.decision.version]
        return prediction.decision.version

    async def run_held(self, count: int = 1) -> None:
        """Let *count* runs that were handed to a worker take place."""
        for _ in range(count):
            self.runs.release()
            await turns()

    def states(self) -> dict[VersionKey, State]:
        return {key: state for key, state, _ in self.manager.status()}

    def leases(self) -> int:
        """Return how many leases are held."""
        return sum(harness.leases for harness in self.manager._harnesses.values())

    def counted(self, family: str) -> dict[tuple[Any, ...], Any]:
        """Return one metric's points by their labels."""
        (found,) = [one for one in self.instruments.families() if one.name == family]
        return dict(found.points)


class Traffic:
    """Requests one after the other, without a pause, until it is told to stop; nothing may fail."""

    def __init__(self, world: World, **fields: Any) -> None:
        self.answered: Counter[int] = Counter()
        self.errors: list[TurnoutError] = []
        self._world, self._fields, self._stop = world, fields, False
        self._tasks = [asyncio.create_task(self._send()) for _ in range(3)]

    async def _send(self) -> None:
        while not self._stop:
            try:
                self.answered[await self._world.version(**self._fields)] += 1
            except TurnoutError as error:
                self.errors.append(error)
            await asyncio.sleep(0)

    async def stop(self) -> Mapping[int, int]:
        """End it; return how many requests each version answered."""
        self._stop = True
        await asyncio.gather(*self._tasks)
        assert self.errors == []
        return self.answered


__all__ = ["SIGNATURE", "Predictor", "Traffic", "World", "count_run", "manifest", "query", "table", "turns"]
