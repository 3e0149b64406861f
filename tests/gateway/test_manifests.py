"""Manifests are read once, and again when the store may have others."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest

from tests.gateway.world import World
from turnout_server.gateway import manifests as module
from turnout_server.gateway.manifests import KEEP_S, Manifests
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.errors import InvalidManifestError, ModelNotFoundError
from turnout_server.vocabulary.versions import VersionKey

ONE = VersionKey("price", 1)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """Of two versions the first is only stored."""
    world = World(tmp_path / "store")
    world.publish("price")
    world.publish("price")
    return await world.start()


@pytest.fixture
def read(world: World, monkeypatch: pytest.MonkeyPatch) -> list[VersionKey]:
    """What is read of the store."""
    found: list[VersionKey] = []
    manifest = world.store.manifest

    def noted(model: str, version: int) -> Manifest:
        found.append(VersionKey(model, version))
        return manifest(model, version)

    monkeypatch.setattr(world.store, "manifest", noted)
    return found


async def test_a_listing_reads_what_is_stored_once(world: World, read: list[VersionKey]) -> None:
    for _ in range(10):
        assert [(await world.catalog.manifest(status.key)).version for status in world.catalog.status()] == [1, 2]
    assert read == [ONE]


async def test_of_many_at_once_one_reads_for_all(world: World, read: list[VersionKey]) -> None:
    manifests = Manifests(world.store, world.names)
    found = await asyncio.gather(*(manifests.get(ONE) for _ in range(100)))
    assert read == [ONE]
    assert all(one is found[0] for one in found)


async def test_who_gives_up_takes_nobody_with_him(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    go, manifest = threading.Event(), world.store.manifest

    def slowly(model: str, version: int) -> Manifest:
        assert go.wait(30)
        return manifest(model, version)

    monkeypatch.setattr(world.store, "manifest", slowly)
    manifests = Manifests(world.store, world.names)
    first, second = (asyncio.ensure_future(manifests.get(ONE)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert (await second).version == 1


async def test_a_model_that_has_changed_is_read_anew(world: World, read: list[VersionKey]) -> None:
    manifests = Manifests(world.store, world.names)
    await manifests.get(ONE)
    world.publish("price")
    await world.look()
    assert (await manifests.get(ONE)).version == 1
    assert read.count(ONE) == 2
    shutil.rmtree(world.root / "models/price")
    world.publish("rank")
    await world.look()
    with pytest.raises(ModelNotFoundError):
        await manifests.get(ONE)


async def test_one_that_was_read_long_ago_is_read_anew(world: World, read: list[VersionKey]) -> None:
    now = [0.0]
    manifests = Manifests(world.store, world.names, clock=lambda: now[0])
    for now[0] in (0.0, KEEP_S - 1, KEEP_S, KEEP_S + 1):
        await manifests.get(ONE)
    assert read == [ONE, ONE]


async def test_what_cannot_be_read_is_tried_again(world: World) -> None:
    manifests, file = Manifests(world.store, world.names), world.root / "models/price/1/manifest.json"
    whole = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(b"{")
    for found in await asyncio.gather(manifests.get(ONE), manifests.get(ONE), return_exceptions=True):
        assert isinstance(found, InvalidManifestError)
    file.write_bytes(whole)
    assert (await manifests.get(ONE)).version == 1


async def test_what_no_look_has_found_yet_is_not_kept(world: World, read: list[VersionKey]) -> None:
    manifests, unseen = Manifests(world.store, world.names), VersionKey("unseen", 1)
    world.publish("unseen")
    for _ in range(2):
        assert (await manifests.get(unseen)).model == "unseen"
    assert read == [unseen, unseen]


async def test_only_so_many_are_kept(world: World, read: list[VersionKey], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KNOWN", 1)
    manifests, two = Manifests(world.store, world.names), VersionKey("price", 2)
    for key in (ONE, two, two, ONE):
        await manifests.get(key)
    assert read == [ONE, two, ONE]
