"""More units are let in, or none for a while; who takes part never moves, and nothing that was decided is lost."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.experiments.worlds import experiment
from tests.store.blobs.memory import MemoryBlobs
from tests.store.interleaving import Interleaving, Killed
from turnout_server.experiments.definition import InvalidExperimentError
from turnout_server.experiments.grants import ExperimentConflictError
from turnout_server.experiments.rollout import Pause, Rollout, Standing, Verb, pauses, said
from turnout_server.experiments.started import Ledger, Stopped, UnknownExperimentError, freeze
from turnout_server.routing.laying import lay
from turnout_server.routing.overlay import Step, parse
from turnout_server.routing.stored import StoredNames
from turnout_server.routing.text import parse as parse_table
from turnout_server.store.blobs import Blobs
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.store.store import BlobStore, By
from turnout_server.vocabulary.errors import InvalidRouteTableError, RouteNotFoundError, StaleWriteError

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ADA = By("ada@laptop", "turnout experiment")
PLACED = "    experiment: {name: ranker, control: old, enrolment: 0.1}\n"
TABLE = """routes:
  ranking:
    salt: s
    targets:
      - {name: old, model: ranker, version: 1, weight: 50}
      - {name: new, model: ranker, version: 2, weight: 50}
"""


def begun(blobs: Blobs, placed: str = PLACED, enrolment: float = 0.1) -> BlobStore:
    """Return a store in which `ranker` runs."""
    store = BlobStore(blobs)
    blobs.put_if_absent("routes.yaml", (TABLE + placed).encode())
    table = parse_table(TABLE + placed)
    one = experiment(enrolment=enrolment)
    Ledger(blobs).start(freeze(one, table.get("ranking"), StoredNames(table, {"ranker": (1, 2)}), NOW, "ada"))
    return store


@pytest.fixture(params=["directory", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return begun(DirectoryBlobs(tmp_path) if request.param == "directory" else MemoryBlobs())


def decide(store: BlobStore, verb: Verb, to: float = float("nan"), hours: float = 0.0, why: str = "") -> float:
    _, after = Rollout(store).decide(verb, "ranker", NOW + timedelta(hours=hours), ADA, why=why, to=to)
    return after.enrolment


def standing_of(store: BlobStore) -> Standing:
    found = Rollout(store).standing("ranker")
    assert found is not None
    return found


def share(store: BlobStore) -> float:
    """Return the share of units that a gateway lets in."""
    raw = store.rollouts.get("ranking")
    table = parse_table(store.routes_text() or "")
    laid = lay(table, {} if raw is None else {"ranking": parse(raw, "ranking")}).table
    gate = laid.require("ranking").gate
    return 1.0 if gate is None else gate.share


def test_it_is_raised_paused_and_resumed_where_it_was_and_peoples_table_is_left_alone(store: BlobStore) -> None:
    before = store.routes_text()
    assert (decide(store, "ramp", 0.2), share(store)) == (0.2, 0.2)
    assert (decide(store, "pause", why="errors"), share(store)) == (0.0, 0.0)
    assert standing_of(store).resumes_at == 0.2
    assert (decide(store, "resume"), share(store)) == (0.2, 0.2)
    assert (decide(store, "ramp", 1.0), share(store)) == (1.0, 1.0)
    standing = standing_of(store)
    assert [step.enrolment for step in standing.steps] == [0.2, 0.0, 0.2, 1.0]
    assert standing.steps[1].why == "errors"
    assert store.routes_text() == before
    actions = [noted.entry.action for noted in store.audit.entries("audit/rollouts/ranking")]
    assert actions == ["ranker: ramp to 20%", "ranker: pause", "ranker: resume", "ranker: ramp to 100%"]


def test_an_experiment_that_the_table_does_not_have_is_paused_all_the_same() -> None:
    store = begun(MemoryBlobs(), placed="", enrolment=1.0)
    with pytest.raises(ExperimentConflictError, match="is 100% already"):
        decide(store, "ramp", 1.0)
    decide(store, "pause")
    assert share(store) == 0.0
    decide(store, "resume")
    assert share(store) == 1.0


@pytest.mark.parametrize("to", [0.0, -0.1, 1.1, float("nan"), float("inf")])
def test_a_share_is_above_nothing_and_not_above_all(store: BlobStore, to: float) -> None:
    with pytest.raises(InvalidExperimentError, match="expected a share above 0, and at most 1"):
        decide(store, "ramp", to)


def test_what_would_send_units_away_or_changes_nothing_is_refused(store: BlobStore) -> None:
    with pytest.raises(InvalidExperimentError, match=r"5% is less than the present 10%: .* would leave.*`pause`"):
        decide(store, "ramp", 0.05)
    with pytest.raises(ExperimentConflictError, match="is 10% already"):
        decide(store, "ramp", 0.1)
    with pytest.raises(ExperimentConflictError, match="is not paused"):
        decide(store, "resume")
    decide(store, "pause")
    with pytest.raises(ExperimentConflictError, match="is paused already"):
        decide(store, "pause")
    with pytest.raises(ExperimentConflictError, match="is paused; resume it first"):
        decide(store, "ramp", 0.5)
    assert len(standing_of(store).steps) == 1


@pytest.mark.parametrize("verb", ["ramp", "pause", "resume"])
def test_what_is_over_or_unknown_is_not_decided_about(store: BlobStore, verb: Verb) -> None:
    with pytest.raises(UnknownExperimentError, match="no experiment 'nobody' was started"):
        Rollout(store).decide(verb, "nobody", NOW, ADA, to=0.5)
    Ledger(store.blobs).stop("ranker", Stopped(NOW, "ada", "enough"))
    with pytest.raises(ExperimentConflictError, match="was stopped at 2026-11-29 12:00 UTC"):
        decide(store, verb, 0.5)
    assert store.rollouts.get("ranking") is None


def test_a_table_that_has_another_experiment_or_no_route_or_is_broken_is_named(store: BlobStore) -> None:
    store.write_routes((TABLE + PLACED).replace("name: ranker,", "name: other,"))
    with pytest.raises(ExperimentConflictError, match="in the route table is 'other' now, and not 'ranker'"):
        decide(store, "pause")
    store.write_routes("routes: {}")
    with pytest.raises(RouteNotFoundError):
        decide(store, "pause")
    store.write_routes("routes: [")
    with pytest.raises(InvalidRouteTableError):
        decide(store, "pause")


def test_a_person_who_changes_the_table_is_right_and_what_follows_starts_from_there(store: BlobStore) -> None:
    decide(store, "pause")
    store.write_routes((TABLE + PLACED).replace("0.1", "0.3"))
    standing = standing_of(store)
    assert (standing.enrolment, standing.resumes_at, share(store)) == (0.3, None, 0.3)
    assert "was changed in the route table" in standing.overruled
    with pytest.raises(ExperimentConflictError, match="is not paused: since it was decided"):
        decide(store, "resume")
    assert (decide(store, "ramp", 0.5), share(store)) == (0.5, 0.5)
    assert [step.enrolment for step in standing_of(store).steps] == [0.0, 0.5]


@pytest.mark.parametrize(("text", "is_told"), [((TABLE + PLACED).replace("0.1", "0.7"), True), ("routes: [", False)])
def test_who_decides_while_somebody_changes_the_table_is_told_that_it_does_not_count(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, text: str, is_told: bool
) -> None:
    """A table that gateways do not take leaves the pause in force with the one before it."""
    change = store.rollouts.change

    def late(*arguments: Any) -> None:
        change(*arguments)
        tag = store.blobs.get("routes.yaml")
        assert tag is not None
        assert store.blobs.put_if_match("routes.yaml", text.encode(), tag.tag)

    monkeypatch.setattr(store.rollouts, "change", late)
    if is_told:
        with pytest.raises(StaleWriteError, match=r"not in force: since it was decided, .* was changed"):
            decide(store, "pause")
        monkeypatch.undo()
        decide(store, "pause")
        assert share(store) == 0.0
    else:
        decide(store, "pause")


def test_what_an_earlier_experiment_has_left_is_replaced_and_its_steps_are_with_it(store: BlobStore) -> None:
    decide(store, "ramp", 0.4)
    ledger = Ledger(store.blobs)
    steps, _ = Rollout(store).history(*ledger.get("ranker"))
    ledger.stop("ranker", Stopped(NOW, "ada", "", 0, steps))
    text = (TABLE + PLACED).replace("name: ranker,", "name: second,")
    store.write_routes(text)
    table = parse_table(text)
    one = experiment(name="second", enrolment=0.1)
    ledger.start(freeze(one, table.get("ranking"), StoredNames(table, {"ranker": (1, 2)}), NOW, "ada"))
    assert share(store) == 0.1
    _, after = Rollout(store).decide("ramp", "second", NOW, ADA, to=0.2)
    assert (after.enrolment, len(after.steps), share(store)) == (0.2, 1, 0.2)
    assert [step.enrolment for step in Rollout(store).history(*ledger.get("ranker")).steps] == [0.4]


def test_what_cannot_be_read_hides_nothing_else(store: BlobStore) -> None:
    decide(store, "ramp", 0.4)
    ledger = Ledger(store.blobs)
    steps, _ = Rollout(store).history(*ledger.get("ranker"))
    ledger.stop("ranker", Stopped(NOW, "ada", "", 0, steps))
    store.rollouts.change("ranking", lambda raw: b"{", "broken", ADA)
    found = Rollout(store).history(*ledger.get("ranker"))
    assert (found.steps, found.problem.partition(":")[0]) == (steps, "rollouts/ranking.json")
    assert Rollout(store).standing("ranker") is None
    store.blobs.delete("rollouts/ranking.json")
    assert standing_of(store).steps == steps
    store.write_routes("routes: {}")
    assert Rollout(store).standing("ranker") is None, "the table does not tell any more"


def test_another_table_is_decided_by_where_a_gateway_has_one(store: BlobStore) -> None:
    text = store.routes_text() or ""
    store.write_routes("routes: {}")
    _, after = Rollout(store, text).decide("ramp", "ranker", NOW, ADA, to=0.2)
    assert after.enrolment == 0.2


def test_processes_that_decide_at_once_in_one_directory_lose_nothing(tmp_path: Path) -> None:
    begun(DirectoryBlobs(tmp_path))
    together = threading.Barrier(6)

    def ramp(to: float) -> bool:
        together.wait(10)
        try:
            Rollout(BlobStore(DirectoryBlobs(tmp_path))).decide("ramp", "ranker", NOW, ADA, to=to)
        except (StaleWriteError, InvalidExperimentError):
            return False
        return True

    wanted = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    with ThreadPoolExecutor(6) as pool:
        done = {to for to, is_done in zip(wanted, pool.map(ramp, wanted), strict=True) if is_done}
    decided = [step.enrolment for step in standing_of(BlobStore(DirectoryBlobs(tmp_path))).steps]
    assert done == set(decided)
    assert decided == sorted(decided)
    assert decided


# ---------------------------------------------------------------- several at once


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2))
def test_of_several_who_decide_at_once_nothing_is_lost_and_who_loses_is_told(seed: int, deaths: int) -> None:
    race = Interleaving(Random(seed), lambda: None, deaths)
    store = begun(MemoryBlobs(race.step))
    shares = [0.2, 0.3, 0.4]
    outcomes = race.run([lambda to=to: decide(store, "ramp", to) for to in shares])
    told = StaleWriteError | InvalidExperimentError | Killed
    assert all(found is None or isinstance(found, told) for found in outcomes)
    decided = [step.enrolment for step in standing_of(store).steps]
    assert decided == sorted(set(decided)), "it only grows, each step once"
    assert {to for to, found in zip(shares, outcomes, strict=True) if found is None} <= set(decided)
    assert decided or deaths


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_pause_never_loses_against_who_ramps_at_the_same_time(seed: int) -> None:
    race = Interleaving(Random(seed), lambda: None)
    store = begun(MemoryBlobs(race.step))
    ramped, paused = race.run([lambda: decide(store, "ramp", 0.5), lambda: decide(store, "pause")])
    standing = standing_of(store)
    assert paused is None
    assert standing.enrolment == 0.0
    assert standing.resumes_at == (0.5 if ramped is None else 0.1)
    assert ramped is None or isinstance(ramped, StaleWriteError | ExperimentConflictError)


def test_what_was_decided_is_readable_by_people_and_programs(store: BlobStore) -> None:
    decide(store, "ramp", 0.2, why="it goes well")
    found = json.loads(store.rollouts.get("ranking") or b"")
    assert found == {
        "format": 1,
        "route": "ranking",
        "on": found["on"],
        "experiment": "ranker",
        "control": "old",
        "step": {
            "at": "2026-11-29T12:00:00.000000Z",
            "by": "ada@laptop",
            "how": "turnout experiment",
            "why": "it goes well",
            "enrolment": 0.2,
        },
    }


# ---------------------------------------------------------------- when it was paused


def step(hour: int, enrolment: float, resumes_at: float | None = None, why: str = "") -> Step:
    at = f"2026-11-29T{hour:02}:00:00Z"
    return Step(at=at, by="ada", why=why, enrolment=enrolment, resumes_at=resumes_at)


def hour(number: int) -> datetime:
    return datetime(2026, 11, 29, number, tzinfo=UTC)


def test_pauses_are_told_as_they_were_known() -> None:
    steps = [step(8, 0.2), step(9, 0.0, 0.2, "errors"), step(11, 0.2), step(14, 0.0, 0.2)]
    first = Pause(hour(9), hour(11), "ada", "errors")
    assert pauses(steps, hour(8)) == []
    assert pauses(steps, hour(10)) == [first._replace(until=None)]
    assert pauses(steps, hour(12)) == [first]
    assert pauses(steps, hour(20)) == [first, Pause(hour(14), None, "ada", "")]
    assert said(first) == (
        "paused at 2026-11-29 09:00 UTC by ada, until 2026-11-29 11:00 UTC: errors; "
        "unless the route table overruled it, no unit entered"
    )
    assert "and is still" in said(pauses(steps, hour(20))[1])
    assert pauses([Step(at="2026-02-31T00:00:00Z", enrolment=0.0, resumes_at=1.0)], hour(20)) == []
