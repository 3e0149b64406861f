"""Whoever keeps the store: publishes, moves labels, edits the route table, and has accidents."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from time import sleep
from typing import NamedTuple

import msgspec

from tests.soak.asks import deck
from tests.soak.disk import Disk, Lie
from tests.soak.models import MODELS, Model
from tests.soak.shelf import LABELS, Shelf, broken_table, table
from turnout_server.store.manifest import Manifest
from turnout_server.store.publish import Draft, Verify, publish
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

HANGS_S = 6.0
"""How long a disk that hangs does: longer than the server waits for it."""
HUGE_BYTES = 3 << 30
"""How large a file is that nobody should read."""
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

    def __init__(
        self,
        root: Path,
        workshop: Path,
        random: Random,
        shelf: Shelf,
        disk: Disk | None = None,
        has_time: bool = False,
        log: Log = lambda text: None,
    ) -> None:
        """Make a keeper of the store at *root*.

        Args:
            root: the store.
            workshop: for files on their way there.
            random: for what to do.
            shelf: is told what the store has.
            disk: the server's, which can be made to lie; None for one that cannot.
            has_time: whether there is time for what takes many seconds.
            log: is told of each deed.
        """
        self._disk = disk if disk is not None and disk.lies else None
        self._has_time = has_time
        self.shelf = shelf
        self.outages: list[Outage] = []
        self.deeds: Counter[str] = Counter()
        """How often each deed was done."""
        self._root = root
        self._workshop = workshop
        self._random = random
        self._log = log
        self._store = DirectoryStore(root)
        self._whole = True
        """Whether the last good table was."""
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
            await asyncio.sleep(self._random.uniform(0.0, 0.3 if self._has_time else 0.1))

    def _everything(self) -> list[Deed]:
        return [
            *(self.publish_champion, self.publish_challenger, self.publish_quietly, self.move_label, self.swap_labels),
            *(self.remove_old, self.publish_garbage, self.publish_damaged, self.publish_lie, self.remove_broken),
            *(self.rewrite_table, self.rewrite_table_badly, self.rewrite_table_slowly),
            *(self.lose_store, self.lose_models, self.store_becomes_a_file),
            *(self.publish_pipe, self.publish_huge, self.version_comes_and_goes),
            *(self.labels_become_a_pipe, self.labels_become_huge, self.table_becomes_a_pipe),
            *((self.disk_fails, self.disk_is_slow, self.journal_has_no_room) if self._disk else ()),
            *((self.disk_hangs,) if self._disk and self._has_time else ()),
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
        self._write_table(self._next_table())

    def rewrite_table_badly(self) -> None:
        self._write_table(broken_table(self._random))
        sleep(self._random.uniform(0.1, 0.5))

    def rewrite_table_slowly(self) -> None:
        """Write as an editor does that empties the file first."""
        with (self._root / "routes.yaml").open("w", encoding="utf-8") as file:
            sleep(0.15)
            file.write(self._next_table())

    def _next_table(self) -> str:
        """Return another good table: by turns one that is whole, as the first is, and one that is not."""
        self._whole = not self._whole
        return table(self._random, self._whole)

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

    # ------------------------------------------------------------ what is no file, and a disk that lies

    def publish_pipe(self) -> None:
        """Have a version appear whose graph is a pipe, which would keep its reader waiting for ever."""
        model, version = self._broken_number()
        draft = self._copied(model)
        manifest = draft / "manifest.json"
        content = json.loads(manifest.read_text(encoding="utf-8")) | {"version": version}
        manifest.unlink()  # it is read-only
        manifest.write_text(json.dumps(content), encoding="utf-8")
        (draft / "model.onnx").unlink()
        os.mkfifo(draft / "model.onnx")
        draft.rename(self._root / "models" / model / str(version))

    def publish_huge(self) -> None:
        """Publish a version whose graph has grown to gigabytes."""

        def grow(staged: Path, manifest: Manifest) -> None:
            (staged / "model.onnx").unlink()
            _make_huge(staged / "model.onnx")

        self._publish_broken(self._some_model(), {}, grow)

    def version_comes_and_goes(self) -> None:
        """Have a version vanish again and again, at times between the server's list of versions and its look."""
        model, version = self._broken_number()
        place = self._root / "models" / model / str(version)
        copied = self._copied(model)  # its manifest is another version's
        for _ in range(20):
            copied.rename(place)
            sleep(self._random.uniform(0.0, 0.02))
            place.rename(copied)
        shutil.rmtree(copied)

    def _broken_number(self) -> tuple[str, int]:
        """Return a model and the number that its next version, which must never answer, has without a publisher."""
        model = self._some_model().name
        version = self.shelf.next_version(model)
        self.shelf.broken[model].add(version)
        last = self._root / "models" / model / ".last_version"
        draft = self._workshop / "last_version"
        draft.write_text(f"{version}\n", encoding="utf-8")
        draft.replace(last)
        return model, version

    def _copied(self, model: str) -> Path:
        """Return a copy of the newest version, outside the store."""
        newest = self._root / "models" / model / str(self.shelf.stored[model][-1])
        return Path(shutil.copytree(newest, self._workshop / "copied"))

    def labels_become_a_pipe(self) -> None:
        """A server that cannot read a model's labels goes by those that it knew."""
        with self._in_place_of(self._root / "models" / self._some_model().name / "labels.json") as place:
            os.mkfifo(place)

    def labels_become_huge(self) -> None:
        """The same with a file of gigabytes."""
        with self._in_place_of(self._root / "models" / self._some_model().name / "labels.json") as place:
            _make_huge(place)

    def table_becomes_a_pipe(self) -> None:
        """A server that cannot read the route table goes by the one that it knew."""
        with self._in_place_of(self._root / "routes.yaml") as place:
            os.mkfifo(place)

    @contextmanager
    def _in_place_of(self, place: Path) -> Iterator[Path]:
        """Have something else in the place of a file for a while."""
        away = self._workshop / "away"
        place.rename(away)
        yield place
        sleep(self._random.uniform(0.1, 0.3))
        away.replace(place)

    def disk_fails(self) -> None:
        """Every look at the store fails for a while."""
        self._lie(Lie.BROKEN, self._random.uniform(0.1, 0.5))

    def disk_is_slow(self) -> None:
        """Every look at the store takes a tenth of a second for a while, which is no outage."""
        assert self._disk is not None
        with self._disk.lying(Lie.SLOW, 0.1):
            sleep(self._random.uniform(0.2, 0.6))

    def disk_hangs(self) -> None:
        """Whoever looks at the store in this moment waits for longer than the server does."""
        self._lie(Lie.SLOW, 0.3, HANGS_S)

    def journal_has_no_room(self) -> None:
        """The journal cannot be written for a while, which nobody else may notice."""
        assert self._disk is not None
        with self._disk.lying(Lie.FULL):
            sleep(self._random.uniform(1.1, 1.5))  # no segment is kept longer than a second

    def _lie(self, lie: Lie, for_s: float, takes_s: float = 0.0) -> None:
        """Lie as long as it is an outage, which lasts until the last look has ended."""
        assert self._disk is not None
        began = datetime.now(UTC)
        with self._disk.lying(lie, takes_s):
            sleep(for_s)
        self.outages.append(Outage(began, datetime.now(UTC) + timedelta(seconds=takes_s)))


def _make_huge(path: Path) -> None:
    with path.open("wb") as writer:
        writer.truncate(HUGE_BYTES)
