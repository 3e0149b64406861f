"""Whoever keeps the store: publishes, moves labels, edits the route table, and has accidents."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import sleep
from typing import NamedTuple

import msgspec

from tests.soak.asks import deck
from tests.soak.models import MODELS, Model
from tests.soak.shelf import LABELS, Shelf, broken_table, table
from turnout_server.store.manifest import Manifest
from turnout_server.store.publish import Draft, Verify, publish
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

KEPT = 4
"""How many versions a model may have before old ones are removed."""
Log = Callable[[str], None]
Deed = Callable[[], None]


class Outage(NamedTuple):
    """A while in which the store could not be read."""

    began: datetime
    ended: datetime


class Keeper:
    """The only one who writes to the store. Its work blocks: `keep` does it in a thread, one deed after the other."""

    def __init__(self, root: Path, workshop: Path, random: Random, shelf: Shelf, log: Log = lambda text: None) -> None:
        """Make a keeper of the store at *root*, with *workshop* for files on their way there."""
        self.shelf = shelf
        self.outages: list[Outage] = []
        self.deeds: Counter[str] = Counter()
        """How often each deed was done."""
        self._root = root
        self._workshop = workshop
        self._random = random
        self._log = log
        self._store = DirectoryStore(root)
        self._due: list[Deed] = []

    @property
    def undone(self) -> list[str]:
        """The deeds that were never done."""
        names = [deed.__name__.replace("_", " ") for deed in self._everything()]
        return [name for name in names if not self.deeds[name]]

    # ------------------------------------------------------------ before and after

    def found(self) -> None:
        """Make the store: every model with two versions, and a table."""
        for model in MODELS.values():
            for label in LABELS:
                self._publish(model, label)
        self._write_table(table(self._random))

    def tidy(self) -> None:
        """Leave a store in which nothing is broken: two versions a model, both labelled, and a good table."""
        self._write_table(table(self._random))
        for name in MODELS:
            newest, before = self.shelf.stored[name][-1], self.shelf.stored[name][-2]
            self._point(name, "champion", newest)
            self._point(name, "challenger", before)
            self._remove_broken(name)
            for version in self.shelf.removable(name):
                self._remove(name, version)

    def publish_everything(self) -> None:
        """Publish one more version of every model, and make it the champion."""
        for model in MODELS.values():
            self._publish(model, "champion")

    async def keep(self, over: Callable[[], bool]) -> None:
        """Do every deed there is, in a random order, again and again; go on where the last time ended."""
        while not over():
            if not self._due:
                self._due = deck(self._random, self._everything())
            deed = self._due.pop()
            name = deed.__name__.replace("_", " ")
            self._log(name)
            await asyncio.to_thread(deed)
            self.deeds[name] += 1
            await asyncio.sleep(self._random.uniform(0.0, 0.3))

    def _everything(self) -> list[Deed]:
        return [
            *(self.publish_champion, self.publish_challenger, self.publish_quietly, self.move_label, self.swap_labels),
            *(self.remove_old, self.publish_garbage, self.publish_damaged, self.publish_lie, self.remove_broken),
            *(self.rewrite_table, self.rewrite_table_badly, self.rewrite_table_slowly),
            *(self.lose_store, self.lose_models, self.store_becomes_a_file),
        ]

    # ------------------------------------------------------------ versions and labels

    def publish_champion(self) -> None:
        self._publish(self._some_model(), "champion")

    def publish_challenger(self) -> None:
        self._publish(self._some_model(), "challenger")

    def publish_quietly(self) -> None:
        self._publish(self._some_model(), "")

    def move_label(self) -> None:
        name = self._some_model().name
        self._point(name, self._random.choice(LABELS), self._random.choice(self.shelf.stored[name]))

    def swap_labels(self) -> None:
        name = self._some_model().name
        one, other = (self.shelf.labels[name][label] for label in LABELS)
        for label, version in zip(LABELS, (other, one), strict=True):
            self._point(name, label, version)

    def remove_old(self) -> None:
        for name in MODELS:
            for version in self.shelf.removable(name)[: max(0, len(self.shelf.stored[name]) - KEPT)]:
                self._remove(name, version)

    def _some_model(self) -> Model:
        return self._random.choice(list(MODELS.values()))

    def _publish(self, model: Model, label: str) -> None:
        version = self.shelf.next_version(model.name)
        draft = model.draft(version, self._workshop)
        # The server may be quicker than what follows here, so the shelf knows first.
        self.shelf.add(model.name, version)
        assert publish(self._root, draft).version == version
        if label:
            self._point(model.name, label, version)

    def _point(self, model: str, label: str, version: int) -> None:
        self.shelf.point(model, label, version)
        self._store.set_label(model, label, version)

    def _remove(self, model: str, version: int) -> None:
        shutil.rmtree(self._root / "models" / model / str(version))
        self.shelf.stored[model].remove(version)

    # ------------------------------------------------------------ broken versions

    def publish_garbage(self) -> None:
        """Publish what is no graph, under a label that callers use."""
        model = self._some_model()
        garbage = self._workshop / "garbage.onnx"
        garbage.write_bytes(self._random.randbytes(5_000))
        self._publish_broken(model, {"model.onnx": garbage})

    def publish_damaged(self) -> None:
        """Publish a version with a bit that has changed since its digest was taken."""

        def damage(staged: Path, manifest: Manifest) -> None:
            file = staged / "model.onnx"
            content = bytearray(file.read_bytes())
            content[self._random.randrange(len(content))] ^= 1
            file.unlink()  # it is read-only
            file.write_bytes(content)

        self._publish_broken(self._some_model(), {}, damage)

    def publish_lie(self) -> None:
        """Publish a good graph whose manifest speaks of an input that it does not have."""
        self._publish_broken(self._some_model(), {}, lies=True)

    def remove_broken(self) -> None:
        self._remove_broken(self._some_model().name)

    def _publish_broken(
        self, model: Model, files: dict[str, Path], verify: Verify | None = None, lies: bool = False
    ) -> None:
        version = self.shelf.next_version(model.name)
        draft: Draft = model.draft(version, self._workshop)
        changed: dict[str, object] = {}
        if files:
            changed["files"] = files
        if lies:
            more = (*draft.signature.inputs, TensorSpec("imagined", DType.FP32, (-1,)))
            changed["signature"] = Signature(more, draft.signature.outputs, draft.signature.batched)
        self.shelf.broken[model.name].add(version)
        assert publish(self._root, msgspec.structs.replace(draft, **changed), verify=verify).version == version
        if self._random.random() < 0.5:
            # A label that names it goes on naming, for callers, the version before it.
            label = self._random.choice(LABELS)
            self._store.set_label(model.name, label, version)
            self._labelled_broken(model.name, label)

    def _labelled_broken(self, model: str, label: str) -> None:
        sleep(self._random.uniform(0.1, 0.5))
        self._store.set_label(model, label, self.shelf.labels[model][label])

    def _remove_broken(self, model: str) -> None:
        for version in self.shelf.broken[model]:
            shutil.rmtree(self._root / "models" / model / str(version), ignore_errors=True)

    # ------------------------------------------------------------ the route table

    def rewrite_table(self) -> None:
        self._write_table(table(self._random))

    def rewrite_table_badly(self) -> None:
        self._write_table(broken_table(self._random))
        sleep(self._random.uniform(0.1, 0.5))

    def rewrite_table_slowly(self) -> None:
        """Write as an editor does that empties the file first."""
        with (self._root / "routes.yaml").open("w", encoding="utf-8") as file:
            sleep(0.15)
            file.write(table(self._random))

    def _write_table(self, text: str) -> None:
        draft = self._root / "routes.yaml.draft"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._root / "routes.yaml")

    # ------------------------------------------------------------ accidents

    # Permissions keep root from nothing, and containers often run as root: so what cannot be read is moved away.

    def lose_store(self) -> None:
        """Have the store's directory away for a while, as when a volume is not mounted."""
        self._without(self._root)

    def lose_models(self) -> None:
        """Have the models away for a while."""
        self._without(self._root / "models")

    def store_becomes_a_file(self) -> None:
        """Have a file in the place of the store's directory for a while."""
        self._without(self._root, in_its_place=True)

    def _without(self, place: Path, in_its_place: bool = False) -> None:
        began = datetime.now(UTC)
        away = self._workshop / "away"
        place.rename(away)
        if in_its_place:
            place.write_text("no directory")
        sleep(self._random.uniform(0.1, 0.8))
        if in_its_place:
            place.unlink()
        away.rename(place)
        self.outages.append(Outage(began, datetime.now(UTC)))
