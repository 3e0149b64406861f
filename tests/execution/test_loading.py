"""How a version becomes something that runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.gateway.world import SIGNATURE, Predictor, manifest
from tests.onnx.graphs import LINEAR, linear
from turnout_server import machine
from turnout_server.config import LimitsConfig, ModelConfig, SchedulingConfig
from turnout_server.execution import loading
from turnout_server.execution.loading import Loading, Opened, rules_of
from turnout_server.execution.workers import Workers
from turnout_server.instruments.instruments import Instruments
from turnout_server.onnx.children import Children
from turnout_server.onnx.conversation import Passed
from turnout_server.onnx.loader import binding
from turnout_server.onnx.session import OnnxServable, Session
from turnout_server.scheduling.batcher import Rules
from turnout_server.scheduling.shares import Shares
from turnout_server.serving.manager import Manager
from turnout_server.store.blobs import Size
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.store.local import LocalFiles
from turnout_server.store.manifest import Batching, Manifest, RuntimeOptions
from turnout_server.store.patience import Patience
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import BlobStore, DirectoryStore
from turnout_server.vocabulary.errors import InvalidModelError, QueueFullError, StoreError, TurnoutError
from turnout_server.vocabulary.extent import bounded
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.versions import VersionKey

KEY = VersionKey("price", 1)
PATIENCE_S = 30


@pytest.mark.parametrize(
    ("batching", "rules"),
    [
        (Batching(), Rules(64, 0.0, 200_000.0, 2)),
        (Batching(max_rows=1), Rules(1, 0.0, 200_000.0, 2)),
        (Batching(max_rows=8, max_delay_us=500), Rules(8, 0.0005, 200_000.0, 2)),
    ],
)
def test_the_manifest_goes_before_the_configuration(batching: Batching, rules: Rules) -> None:
    assert rules_of(batching, SchedulingConfig(), 2) == rules


@pytest.mark.parametrize("by_value", [False, True])
async def test_runs_that_cost_what_values_say_never_take_place_on_the_loop(by_value: bool) -> None:
    """However cheap the first ones were."""
    with ThreadPoolExecutor(1) as executor:
        workers = Workers(asyncio.get_running_loop(), executor, Shares(1, 1, 1))
        opened = Opened(Predictor(manifest(1)), {1: 1, 64: 1}, by_value=by_value)
        runner = Loading(lambda key: opened, workers, Instruments()).load(KEY)
        for _ in range(100):
            runner.costs.observe(1, 0)
        assert runner.is_cheap(1) != by_value


async def test_versions_share_the_room_of_the_process_and_each_begins_its_statistics_anew() -> None:
    instruments = Instruments()
    with ThreadPoolExecutor(1) as executor:
        workers = Workers(asyncio.get_running_loop(), executor, Shares(1, 1, 1), lambda: False)
        loading = Loading(
            lambda key: Opened(Predictor(manifest(key.version)), {1: 10**9}),
            workers,
            instruments,
            LimitsConfig(queue_total_rows=4, queue_requests=9),
        )
        one, two = loading.load(KEY), loading.load(VersionKey("price", 2))
        x = {"x": np.ones((2, 1), np.float32)}
        told: list[TurnoutError | None] = []
        for runner in (one, one):
            runner.submit(x, runner.output_names, None, lambda *answer: told.append(answer[2]), rows=2)
        two.submit(x, two.output_names, None, lambda *answer: told.append(answer[2]), rows=2)
        with pytest.raises(QueueFullError):
            two.submit(x, two.output_names, None, lambda *answer: None, rows=2)
        while len(told) < 3:
            await asyncio.sleep(0)
        assert one.signature == bounded(SIGNATURE, LimitsConfig().max_rows, LimitsConfig().max_elements)
        assert one.statistics.execution_count
        assert loading.load(KEY).statistics.execution_count == 0


async def test_a_model_may_have_a_queue_of_its_own_bounds() -> None:
    with ThreadPoolExecutor(1) as executor:
        workers = Workers(asyncio.get_running_loop(), executor, Shares(1, 1, 1), lambda: False)
        loading = Loading(
            lambda key: Opened(Predictor(manifest(key.version)), {1: 10**9}),
            workers,
            Instruments(),
            LimitsConfig(queue_wait_ms=40.0),
            models={"price": ModelConfig(queue_wait_ms=20.0, queue_requests=1, queue_rows=3)},
        )
        own, other = loading.load(KEY), loading.load(VersionKey("rank", 1))
        assert (own.queue_wait_s, own.queue_requests, own.room.fits(3, 1)) == (0.02, 1, True)
        own.room.take(1, 1)
        assert (own.room.fits(2, 1), own.room.fits(3, 1)) == (True, False)
        assert (other.queue_wait_s, other.queue_requests) == (0.04, 64)
        assert other.room.fits(60_000, 1)


@pytest.mark.parametrize(
    ("configured", "limit", "granted"),
    [
        (2048, "max", 2048),
        (2048, "1073741824", 2048),
        (None, "4294967296", 2048),
        (None, "67108864", 512),
    ],
    ids=["as said", "even beyond what there is", "half of the container", "enough to start with"],
)
def test_a_trial_gets_what_is_configured_or_half_of_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configured: int | None, limit: str, granted: int
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(machine, "_GROUP_LIMITS", (tmp_path / "memory.max",))
    assert loading.trial_memory_bytes(configured) >> 20 == granted


def test_only_what_has_passed_its_trial_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "graph"
    file.write_bytes(linear().SerializeToString())
    root = tmp_path / "store"
    publish(root, Draft(model="price", task=Task.TENSORS, signature=LINEAR, files={"model.onnx": file}))
    opened: list[Path] = []

    def open_session(path: Path, options: RuntimeOptions, extensions: Path | None = None, /) -> Session:
        opened.append(path)
        return binding()(path, options)

    trials = Trials()
    open_version = loading.opening(LocalFiles(DirectoryStore(root)), cast(Children, trials), open_session)
    made = open_version(KEY)
    assert (made.measured, made.independent, made.needs) == ({1: 5, 64: 7}, True, {1: 100, 64: 6400})
    assert opened == [root / "models/price/1/model.onnx"]
    trials.problem = "its first runs took more than 60 s"
    with pytest.raises(InvalidModelError, match="its first runs took more than 60 s"):
        open_version(KEY)
    assert len(opened) == 1


def published(root: Path, *models: str) -> DirectoryStore:
    """Return a store that has the first version of *models*."""
    file = root.with_suffix(".graph")
    file.write_bytes(linear().SerializeToString())
    for model in models:
        publish(root, Draft(model=model, task=Task.TENSORS, signature=LINEAR, files={"model.onnx": file}))
    return DirectoryStore(root)


class Impatient(Patience):
    """Waits for what hangs a moment only, and for all else for long, however busy the machine is."""

    is_mended = False

    def do(
        self,
        what: str,
        work: Callable[[], Any],
        key: Hashable = None,
        *,
        more_s: float = 0.0,
        discard: Callable[[Any], object] | None = None,
    ) -> Any:
        hangs = what in ("the files of a version 1", "the graph of b version 1") and not self.is_mended
        return super().do(what, work, key, more_s=0.2 - PATIENCE_S if hangs else more_s, discard=discard)


async def test_a_disk_that_hangs_under_one_version_leaves_the_only_loader_to_the_others(tmp_path: Path) -> None:
    """As it reads the files of `a`, and as it opens the graph of `b`."""
    go = threading.Event()

    class Hanging(DirectoryBlobs):
        def measure(self, key: str, most: int) -> Size:
            assert not key.startswith("models/a/") or go.wait(PATIENCE_S)
            return super().measure(key, most)

    def open_session(path: Path, options: RuntimeOptions, extensions: Path | None = None, /) -> Session:
        assert "/b/" not in str(path) or go.wait(PATIENCE_S)
        return binding()(path, options)

    root = tmp_path / "store"
    published(root, "a", "b", "c")
    patience = Impatient(PATIENCE_S)
    files = LocalFiles(BlobStore(Hanging(root)), patience)
    open_version = loading.opening(files, cast(Children, Trials()), open_session, waiting=patience)
    manager: Manager[Opened] = Manager(open_version, lambda opened: opened.predictor.close(), loaders=1)
    wish = frozenset(VersionKey(model, 1) for model in "abc")
    manager.aspire(wish)
    while not manager.tried:
        await manager.wait_changed()
    failed = {status.key.model: status.detail for status in manager.failed()}
    assert failed == {
        "a": "cannot read the files of a version 1: the disk has not answered for 0.2 s",
        "b": "cannot read the graph of b version 1: the disk has not answered for 0.2 s",
    }
    assert manager.is_available(VersionKey("c", 1))
    assert patience.stuck == 2
    patience.is_mended = True
    go.set()
    while patience.stuck:
        await asyncio.sleep(0.001)
    for model in "ab":
        manager.retry(model)
    while not all(map(manager.is_available, wish)):
        await manager.wait_changed()
    await manager.close()


def test_a_graph_that_is_opened_too_late_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, closed = threading.Event(), threading.Event()
    monkeypatch.setattr(OnnxServable, "close", lambda servable: closed.set())

    def open_session(path: Path, options: RuntimeOptions, extensions: Path | None = None, /) -> Session:
        assert go.wait(PATIENCE_S)
        return binding()(path, options)

    files = LocalFiles(published(tmp_path / "store", "price"))
    patience = Patience(within_s=0.2)
    open_version = loading.opening(files, cast(Children, Trials()), open_session, waiting=patience)
    with pytest.raises(StoreError, match="cannot read the graph of price version 1"):
        open_version(KEY)
    go.set()
    assert closed.wait(PATIENCE_S)


@pytest.mark.parametrize("allowed", [True, False])
def test_whatever_a_child_claims_what_is_not_allowed_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setattr(loading, "library", lambda: tmp_path / "library.so")
    file = tmp_path / "graph"
    file.write_bytes(linear().SerializeToString())
    root = tmp_path / "store"
    publish(root, Draft(model="price", task=Task.TENSORS, signature=LINEAR, files={"model.onnx": file}))
    given: list[Path | None] = []

    def open_session(path: Path, options: RuntimeOptions, extensions: Path | None = None, /) -> Session:
        given.append(extensions)
        return binding()(path, options)

    for needs in (True, False):
        trials = Trials()
        trials.extensions = needs
        loading.opening(LocalFiles(DirectoryStore(root)), cast(Children, trials), open_session, allowed)(KEY)
    assert given == [tmp_path / "library.so" if allowed else None, None]


class Trials:
    """Stands in for the children."""

    problem = ""
    extensions = False

    def try_out(self, directory: Path, manifest: Manifest) -> Passed:
        if self.problem:
            raise InvalidModelError(self.problem)
        return Passed({1: 5, 64: 7}, True, extensions=self.extensions, needs={1: 100, 64: 6400})
