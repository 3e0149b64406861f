"""Whatever the keeper does, its store is whole when it has tidied, and versions have the numbers that it expects."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.soak import keeper as module
from tests.soak.disk import Lie
from tests.soak.keeper import Keeper
from tests.soak.models import MODELS
from tests.soak.shelf import Shelf
from turnout_server.store.store import DirectoryStore


class FakeDisk:
    """A disk that notes what it was told to do."""

    lies = True

    def __init__(self) -> None:
        self.told: list[Lie] = []

    @contextmanager
    def lying(self, lie: Lie, takes_s: float = 0.0) -> Iterator[None]:
        self.told.append(lie)
        yield


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


@pytest.fixture
def keeper(tmp_path: Path, disk: Any, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    monkeypatch.setattr(module, "sleep", lambda seconds: None)
    (tmp_path / "workshop").mkdir()
    one = Keeper(tmp_path / "store", tmp_path / "workshop", Random(1), Shelf(), disk, has_time=True)
    one.found()
    return one


async def test_after_every_deed_there_is_a_store_in_which_nothing_is_broken(
    keeper: Keeper, disk: FakeDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = asyncio.sleep
    monkeypatch.setattr(module.asyncio, "sleep", lambda seconds: real(0))
    await keeper.keep(lambda: not keeper.undone)
    keeper.tidy()
    keeper.publish_everything()
    store = tmp_path / "store"
    assert [path for path in store.rglob("*") if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir()] == []
    for name in MODELS:
        found = sorted(int(place.name) for place in (store / "models" / name).iterdir() if place.name.isdigit())
        assert found == keeper.shelf.stored[name]
        assert DirectoryStore(store).labels(name) == keeper.shelf.labels[name]
    assert {*disk.told} == {Lie.BROKEN, Lie.SLOW, Lie.FULL}
    # Three that take the store away, one that fails and one that hangs; who is slow, or keeps a journal, is no outage.
    assert len(keeper.outages) == sum(
        keeper.deeds[deed] for deed in ("lose store", "lose models", "store becomes a file", "disk fails", "disk hangs")
    )


def test_without_a_disk_that_lies_it_has_fewer_deeds(keeper: Keeper, tmp_path: Path) -> None:
    honest = Keeper(tmp_path / "store", tmp_path / "workshop", Random(1), Shelf())
    assert set(keeper.undone) - set(honest.undone) == {
        "disk fails",
        "disk is slow",
        "disk hangs",
        "journal has no room",
    }
