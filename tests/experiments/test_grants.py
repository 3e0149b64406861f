"""Who holds a route and buckets of a layer; of several who want the same one gets it, wherever anybody dies."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.experiments.test_started import started
from tests.experiments.worlds import START
from tests.store.blobs.memory import MemoryBlobs
from tests.store.interleaving import Interleaving, Killed
from turnout_server.experiments import started as started_module
from turnout_server.experiments.grants import (
    GRACE,
    KEY,
    ExperimentConflictError,
    Grant,
    Grants,
    Held,
    Standing,
    free,
    spans,
)
from turnout_server.experiments.started import Ledger, Started, Stopped
from turnout_server.routing.route import Span
from turnout_server.store.blobs import Blobs
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.vocabulary.errors import StoreError

DAY, WEEK = timedelta(days=1), timedelta(days=7)


@pytest.fixture(params=["directory", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return DirectoryBlobs(tmp_path) if request.param == "directory" else MemoryBlobs()


@pytest.fixture
def ledger(blobs: Blobs) -> Ledger:
    return Ledger(blobs)


def one(name: str, *buckets: Span, route: str = "", at: timedelta = timedelta(), **fields: Any) -> Started:
    """Return an experiment that is to start on a route of its own, in the layer `checkout` where it has buckets."""
    made = started(name=name, **fields)
    experiment = msgspec.structs.replace(
        made.experiment, route=route or f"on-{name}", layer="checkout" if buckets else None, start=START + at
    )
    digest = started_module.digest_of(experiment)
    return msgspec.structs.replace(made, experiment=experiment, digest=digest, buckets=buckets)


def stopped(at: timedelta, cool_down: timedelta | None = None) -> Stopped:
    seconds = None if cool_down is None else round(cool_down.total_seconds())
    return Stopped(START + at, "ada", "enough", seconds)


def test_buckets_are_held_while_an_experiment_runs_and_cool_down_afterwards(ledger: Ledger) -> None:
    ledger.start(one("a", (0, 500)))
    with pytest.raises(ExperimentConflictError) as refused:
        ledger.start(one("b", (400, 600)))
    assert refused.value.message == (
        "buckets 400-599 of layer 'checkout' are not free: 0-499 by 'a', which runs. Free are 500-999"
    )
    ledger.start(one("c", (500, 600)))
    ledger.stop("a", stopped(DAY))
    until = START + DAY + WEEK
    with pytest.raises(ExperimentConflictError, match=rf"0-499 by 'a', cooling down until {until:%Y-%m-%d %H:%M} UTC"):
        ledger.check(one("b", (0, 100), at=DAY + WEEK - timedelta(seconds=1)))
    ledger.start(one("b", (0, 100), at=DAY + WEEK))


def test_how_long_buckets_cool_down_is_said_when_it_stops(ledger: Ledger) -> None:
    ledger.start(one("a", (0, 500)))
    ledger.stop("a", stopped(DAY, timedelta()))
    ledger.start(one("b", (0, 500), at=DAY))
    ledger.stop("b", stopped(2 * DAY, DAY))
    with pytest.raises(ExperimentConflictError, match="cooling down"):
        ledger.start(one("c", (0, 500), at=2 * DAY))
    ledger.start(one("c", (0, 500), at=3 * DAY))


def test_other_layers_and_experiments_without_one_are_in_nobodys_way(ledger: Ledger) -> None:
    ledger.start(one("a", (0, 1000)))
    ledger.start(one("b"))
    other = one("c", (0, 1000))
    experiment = msgspec.structs.replace(other.experiment, layer="search")
    ledger.start(msgspec.structs.replace(other, experiment=experiment, digest=started_module.digest_of(experiment)))
    held = {name: (grant.layer, until) for name, (grant, until) in ledger.holding(START).items()}
    assert held == {"a": ("checkout", None), "b": (None, None), "c": ("search", None)}


def test_what_has_cooled_down_is_held_by_nobody_and_goes_with_the_next_start(ledger: Ledger, blobs: Blobs) -> None:
    ledger.start(one("a", (0, 500)))
    ledger.stop("a", stopped(DAY))
    assert ledger.holding(START + DAY).keys() == {"a"}
    assert ledger.holding(START + DAY + WEEK) == {}
    ledger.start(one("b", (500, 600), at=DAY + WEEK))
    assert [grant.experiment for grant in Grants(blobs).all()] == ["b"]


def test_one_that_cannot_be_read_is_in_the_way_of_its_own_buckets_and_route_alone(ledger: Ledger, blobs: Blobs) -> None:
    ledger.start(one("a", (0, 500)))
    blobs.delete("experiments/a/started.json")
    blobs.put_if_absent("experiments/a/started.json", b"{")
    ledger.start(one("b"))
    for wanted in (one("c", (400, 600)), one("d", route=one("a").experiment.route)):
        with pytest.raises(StoreError, match="experiments/a"):
            ledger.start(wanted)
    assert {grant.experiment for grant in Grants(blobs).all()} == {"a", "b"}


def test_one_that_started_before_there_were_grants_holds_its_route(ledger: Ledger, blobs: Blobs) -> None:
    ledger.start(one("a", route="ranking"))
    blobs.delete(KEY)
    with pytest.raises(ExperimentConflictError, match="'a' runs on route 'ranking'"):
        ledger.start(one("b", route="ranking"))


# ---------------------------------------------------------------- several at once, some of whom die


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 3), st.sampled_from(["one route", "the same buckets", "one name"]))
def test_of_many_who_want_the_same_at_once_one_starts(seed: int, deaths: int, same: str) -> None:
    race = Interleaving(Random(seed), lambda: None, deaths)
    blobs = MemoryBlobs(race.step)
    wanted = {
        "one route": [one(f"e{number}", route="ranking") for number in range(5)],
        "the same buckets": [one(f"e{number}", (number * 10, 500)) for number in range(5)],
        "one name": [one("e", (0, 500), alpha=0.01 + number / 1000) for number in range(5)],
    }[same]
    outcomes = race.run([lambda each=each: Ledger(blobs).start(each) for each in wanted])
    assert all(found is None or isinstance(found, ExperimentConflictError | Killed) for found in outcomes)
    names = {each.experiment.name for each in wanted}
    running = [name for name in names if blobs.get(f"experiments/{name}/started.json")]
    assert len(running) <= 1
    assert outcomes.count(None) <= 1
    assert len(running) == 1 or deaths
    if not running:  # who was about to start has died: after a while nobody is in the way
        later = wanted[0]
        moved = msgspec.structs.replace(later.experiment, start=START + GRACE + timedelta(seconds=1))
        again = msgspec.structs.replace(later, experiment=moved, digest=started_module.digest_of(moved))
        Ledger(blobs).start(again)
        assert Ledger(blobs).get(moved.name)[0] == again


def test_processes_that_start_at_once_in_one_directory_let_one_start(tmp_path: Path) -> None:
    together = threading.Barrier(6)

    def start(number: int) -> bool:
        together.wait(10)
        try:
            Ledger(DirectoryBlobs(tmp_path)).start(one(f"e{number}", (0, 500), route="ranking"))
        except ExperimentConflictError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(start, range(6))) == 1
    assert len(Ledger(DirectoryBlobs(tmp_path)).names()) == 1


def test_who_died_before_it_had_started_is_in_the_way_for_a_minute(ledger: Ledger, blobs: Blobs) -> None:
    dead = msgspec.structs.replace(one("a", (0, 500), route="ranking").grant, token="dead")
    Grants(blobs).claim(dead, lambda name: Standing(False), START)
    with pytest.raises(ExperimentConflictError, match=r"'a' was being started at .* on route 'ranking'"):
        ledger.start(one("b", route="ranking", at=GRACE))
    with pytest.raises(ExperimentConflictError, match=r"'a' was being started by somebody at .* try again in 60 s"):
        ledger.start(one("a", (0, 500), at=GRACE))
    assert ledger.holding(START) == {}, "it never started"
    ledger.start(one("b", (0, 500), route="ranking", at=GRACE + timedelta(seconds=1)))


def test_who_comes_back_after_others_have_taken_its_place_does_not_start(
    ledger: Ledger, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Grants.claim

    def slow(grants: Grants, wanted: Grant, *more: Any) -> None:
        claim(grants, wanted, *more)
        monkeypatch.undo()
        Ledger(blobs).start(one("b", (0, 500), at=GRACE + DAY))

    monkeypatch.setattr(Grants, "claim", slow)
    with pytest.raises(ExperimentConflictError, match="'a' took too long to start, and is stopped"):
        ledger.start(one("a", (0, 500)))
    assert ledger.get("a")[1] is not None
    assert ledger.holding(START + GRACE + DAY).keys() == {"b"}


# ---------------------------------------------------------------- the arithmetic, and what is there


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ([], ((0, 1000),)),
        ([(0, 1000)], ()),
        ([(100, 200), (0, 50), (150, 300)], ((50, 100), (300, 1000))),
        ([(999, 1000)], ((0, 999),)),
    ],
)
def test_what_nobody_has_is_free(taken: list[Span], left: tuple[Span, ...]) -> None:
    held = [Held(Grant("x", "r", "d", START, "ada", "checkout", (span,)), None) for span in taken]
    assert free(held) == left


def test_buckets_are_said_by_their_first_and_last() -> None:
    assert spans([(0, 100), (200, 201)]) == "0-99, 200"
    assert spans([]) == "none"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "layers/grants.json: "),
        (b'{"format": 2}', r"layers/grants.json: \$\.format: found 2; this release reads 1"),
        (b'{"format": 1, "grants": [{}]}', r"layers/grants.json: .*\$\.grants\[0\]"),
    ],
)
def test_grants_that_cannot_be_read_let_nobody_start(ledger: Ledger, blobs: Blobs, content: bytes, told: str) -> None:
    blobs.put_if_absent(KEY, content)
    with pytest.raises(StoreError, match=told):
        ledger.start(one("a", (0, 500)))
