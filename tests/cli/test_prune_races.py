"""Who removes versions and who names them, in every order: what is named is there, at every moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.store.blobs.memory import MemoryBlobs
from tests.store.interleaving import Interleaving, Killed, every_order
from turnout_server.cli.prune import is_named
from turnout_server.routing.table import numbered
from turnout_server.routing.text import parse
from turnout_server.store.blobs import Blob, Entry
from turnout_server.store.layout import ROUTES_KEY, labels_key, manifest_key, version_folder
from turnout_server.store.prune import remove, remove_leftovers
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import BlobStore
from turnout_server.vocabulary.errors import InvalidRouteTableError, VersionNotFoundError
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task

PRESENT, WANTED = 2, 3
"""The version that is named at first, and the one that somebody comes to name."""
Who = Callable[[BlobStore], object]


def table(version: int) -> str:
    target = f"{{name: a, model: price, version: {version}, weight: 1}}"
    return f"routes: {{cost: {{task: tensors, salt: s, targets: [{target}]}}}}"


class Shared(MemoryBlobs):
    """Lets others run before whatever they could see or change, and only there, so that every order can be tried."""

    def __init__(self) -> None:
        super().__init__()
        self.turn: Callable[[], None] = lambda: None

    def get(self, key: str) -> Blob | None:
        if not key.startswith("audit/"):
            self.turn()
        return super().get(key)

    def list(self, folder: str, marker: str = "") -> tuple[Entry, ...] | None:
        if folder.startswith("audit/"):
            self.turn()
        return super().list(folder, marker)

    def delete(self, key: str) -> bool:
        self.turn()
        return super().delete(key)

    def _put(self, key: str, content: bytes, tag: str | None) -> bool:
        if not key.startswith("audit/content/"):
            self.turn()
        return super()._put(key, content, tag)

    def copy(self) -> Shared:
        """Return other blobs with the same in them."""
        other = Shared()
        other._blobs, other._revision = dict(self._blobs), self._revision
        return other

    def names_what_is_gone(self) -> list[str]:
        """Return which labels and routes name a version that is not whole."""
        found = [line for line in (ROUTES_KEY, labels_key("price")) if line in self._blobs]
        return [
            f"{key} names {version}"
            for key in found
            for version in (PRESENT, WANTED)
            if f": {version}".encode() in self._blobs[key].content and not self.is_whole(version)
        ]

    def is_whole(self, version: int) -> bool:
        """Say whether a version has all of its files."""
        return {manifest_key("price", version), f"{version_folder('price', version)}/model.onnx"} <= self._blobs.keys()


def prune(version: int, store: BlobStore) -> bool:
    return remove(store, "price", version, is_wanted=partial(is_named, store, "price", dict, version))


def clean_up(store: BlobStore) -> tuple[int, ...]:
    return remove_leftovers(store, "price", partial(is_named, store, "price", dict))


def apply(store: BlobStore) -> str:
    text = table(WANTED)
    return store.write_routes(text, versions=numbered(parse(text)))


def label(store: BlobStore) -> None:
    store.set_label("price", "champion", WANTED)


@pytest.fixture
def before(tmp_path: Path) -> Shared:
    """Four versions, of which a route and a label name one."""
    blobs, model = Shared(), tmp_path / "model.onnx"
    model.write_bytes(b"graph")
    for _ in range(4):
        publish(
            blobs, Draft(model="price", task=Task.TENSORS, signature=Signature((), ()), files={"model.onnx": model})
        )
    store = BlobStore(blobs)
    store.set_label("price", "champion", PRESENT)
    store.write_routes(table(PRESENT))
    return blobs


def play(
    before: Shared, tasks: Sequence[Who], random: Random, then: Callable[[], None] = lambda: None
) -> tuple[Shared, list[BaseException | None]]:
    """Run *tasks* in the order of *random*, and look after every step whether what is named is there.

    *then* is called whenever somebody goes on.
    """
    blobs = before.copy()
    wrong: list[str] = []
    race = Interleaving(random, lambda: wrong.extend(blobs.names_what_is_gone()))

    def turn() -> None:
        race.step()
        then()

    blobs.turn = turn
    outcomes = race.run([partial(task, BlobStore(blobs)) for task in tasks])
    blobs.turn = lambda: None
    assert not wrong
    return blobs, outcomes


@pytest.mark.parametrize(
    ("tasks", "patient", "most"),
    [
        ((partial(prune, WANTED), apply), (0, 1), 2),
        ((partial(prune, WANTED), label), (0, 1), 2),
        # The version that is left goes, too, while the other one is being taken up.
        ((partial(prune, WANTED), partial(prune, PRESENT), apply), [2], 3),
        ((partial(prune, WANTED), partial(prune, PRESENT), label), [2], 3),
        # Two remove the same one, or one ends what the other has begun.
        ((partial(prune, WANTED), partial(prune, WANTED), label), [0], 2),
        ((partial(prune, WANTED), clean_up, apply), [0], 2),
    ],
)
def test_whatever_is_named_is_there_in_every_order(
    before: Shared, tasks: Sequence[Who], patient: Sequence[int], most: int
) -> None:
    ends: set[tuple[str, ...]] = set()

    def once(random: Random) -> None:
        blobs, outcomes = play(before, tasks, random)
        *others, writer = outcomes
        assert others == [None] * len(others)
        assert isinstance(writer, InvalidRouteTableError | VersionNotFoundError | None)
        # Who is told that the version is there has named it; who is told that it is gone finds nothing half.
        assert blobs.is_whole(WANTED) or writer is not None
        clean_up(BlobStore(blobs))
        assert blobs.is_whole(WANTED) or not blobs.walk(version_folder("price", WANTED))
        ends.add(tuple(type(outcome).__name__ for outcome in outcomes))

    assert every_order(once, most, patient) > 50
    assert len(ends) == 2, "either side can be the faster one"


@pytest.mark.parametrize("writer", [apply, label])
@pytest.mark.parametrize("who_dies", [0, 1])
def test_whoever_dies_anywhere_leaves_nothing_named_that_is_gone(before: Shared, writer: Who, who_dies: int) -> None:
    own = threading.local()

    def dying(task: Who, last: int, store: BlobStore) -> None:
        own.left = last
        task(store)

    def dies() -> None:
        own.left = getattr(own, "left", 1000) - 1
        if own.left < 0:
            raise Killed

    def once(tasks: Sequence[Who], random: Random) -> None:
        blobs, _ = play(before, tasks, random, dies)
        store = BlobStore(blobs)
        clean_up(store)
        assert not blobs.names_what_is_gone()
        assert store.snapshot().problems == {}

    for last in range(18):
        tasks: list[Who] = [partial(prune, WANTED), writer]
        tasks[who_dies] = partial(dying, tasks[who_dies], last)
        every_order(partial(once, tasks), 1, (0, 1))
