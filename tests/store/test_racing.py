"""Sixteen at once, in any order, on blobs that are written one by one: some publish, some move labels, some die."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.store.blobs.memory import MemoryBlobs
from tests.store.interleaving import Interleaving, Killed
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import BlobStore
from turnout_server.vocabulary.errors import StaleWriteError
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task

PUBLISHERS, MOVERS = 10, 6


class Race:
    """A store with one version, sixteen who change it, and somebody who looks after every change."""

    def __init__(self, random: Random, source: Path, deaths: int) -> None:
        self.race = Interleaving(random, self.look, deaths)
        self.blobs = MemoryBlobs(self.race.step)
        self.store = BlobStore(self.blobs)
        self.draft = Draft(
            model="price",
            task=Task.TENSORS,
            signature=Signature((), ()),
            files={"model.onnx": source, "external/weights.bin": source},
        )
        self.numbers: dict[int, int] = {}
        self.seen: set[int] = set()
        publish(self.blobs, self.draft, champion=False)

    def publish(self, who: int) -> None:
        """Publish a version under a label of one's own."""
        self.numbers[who] = publish(self.blobs, self.draft, labels=[f"own-{who}"]).version

    def move(self, who: int) -> None:
        """Set a label of one's own, and try to be the one who sets everybody's."""
        self.store.set_label("price", f"mover-{who}", 1)
        self.store.set_label("price", "champion", 1, None)

    def look(self) -> None:
        """See only whole versions, none of which goes away, and labels that name versions that are there."""
        price = self.store.snapshot().models["price"]
        assert self.seen <= set(price.versions)
        assert set(price.labels.values()) <= set(price.versions)
        for version in set(price.versions) - self.seen:
            assert self.store.verify("price", version).version == version
            self.seen.add(version)

    def run(self) -> list[BaseException | None]:
        """Let them all run; return what came of each."""
        publishers = [lambda who=who: self.publish(who) for who in range(PUBLISHERS)]
        movers = [lambda who=who: self.move(who) for who in range(MOVERS)]
        return self.race.run([*publishers, *movers])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to publish."""
    path = tmp_path / "source.bin"
    path.write_bytes(b"weights")
    return path


races = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # A race made shorter is another race.
)


@races
@given(seed=st.integers(0, 2**32))
def test_everybody_gets_a_version_and_no_label_is_lost(seed: int, source: Path) -> None:
    race = Race(Random(seed), source, deaths=0)
    outcomes = race.run()
    assert sorted(race.numbers.values()) == list(range(2, PUBLISHERS + 2))
    assert outcomes[:PUBLISHERS] == [None] * PUBLISHERS
    assert [type(outcome) for outcome in outcomes[PUBLISHERS:] if outcome] == [StaleWriteError] * (MOVERS - 1)
    own = {f"own-{who}": number for who, number in race.numbers.items()}
    assert race.store.labels("price") == own | {f"mover-{who}": 1 for who in range(MOVERS)} | {"champion": 1}


@races
@given(seed=st.integers(0, 2**32))
def test_whoever_dies_leaves_nothing_half_and_nothing_to_repair(seed: int, source: Path) -> None:
    race = Race(Random(seed), source, deaths=6)
    outcomes = race.run()
    assert all(outcome is None or isinstance(outcome, Killed | StaleWriteError) for outcome in outcomes)
    assert len(set(race.numbers.values())) == len(race.numbers)
    assert set(race.numbers.values()) <= race.seen
    after = publish(race.blobs, race.draft, labels=["champion"]).version
    assert after > max(race.seen)
    assert race.store.labels("price")["champion"] == after
    race.look()
