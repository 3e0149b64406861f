"""Who answers: rules, and what holds for every table, unit and availability."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.routing.decide import answers_for, candidates, decide, refused, unavailable
from turnout_server.routing.stored import StoredNames
from turnout_server.routing.text import parse
from turnout_server.vocabulary.ask import Ask
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import (
    LabelNotFoundError,
    ModelNotFoundError,
    RouteNotFoundError,
    TaskMismatchError,
    TurnoutError,
    VersionNotFoundError,
)
from turnout_server.vocabulary.task import Task

TABLE = parse("""
routes:
  cost:
    task: price
    salt: s
    targets:
      - {name: control, model: price, version: champion, weight: 75}
      - {name: canary, model: price, version: 2, weight: 25}
    overrides:
      - {when: {header: {x-qa: "on"}}, target: canary}
    fallback: control
  bare:
    task: tensors
    salt: t
    targets:
      - {name: a, model: price, version: gone, weight: 1}
      - {name: b, model: rank, version: 1, weight: 3}
""")
TRIED = parse("""
layers:
  checkout: {salt: l, holdout: 0.3}
routes:
  cost:
    task: price
    salt: s
    targets:
      - {name: control, model: price, version: champion, weight: 0}
      - {name: canary, model: price, version: 2, weight: 3}
      - {name: other, model: price, version: 3, weight: 1}
    overrides:
      - {when: {header: {x-qa: "on"}}, target: canary}
    fallback: other
    experiment: {name: canary-2026, control: control, layer: checkout, enrolment: 0.5}
""")
LABELS = {"price": {"champion": 1}}


def names(**versions: tuple[int, ...]) -> StoredNames:
    return StoredNames(TABLE, versions, LABELS)


ALL = names(price=(1, 2), rank=(1, 3))


def tried(*versions: int) -> StoredNames:
    return StoredNames(TRIED, {"price": versions}, LABELS)


def decided(names: StoredNames = ALL, draw: float = 0.0, **ask: object) -> Decision:
    return decide(names, Ask(**{"name": "cost", **ask}), draw)  # type: ignore[arg-type]


def unit_of(target: str) -> str:
    """Return a unit that the split gives to *target*."""
    return next(f"u{n}" for n in range(1000) if decided(unit=f"u{n}").assigned == target)


def test_the_split_says_who_with_which_probability_and_by_which_table() -> None:
    decision = decided(unit=unit_of("canary"))
    assert decision[:5] == ("cost", "canary", "price", 2, Reason.SPLIT)
    assert (decision.assigned, decision.override, decision.propensity) == ("canary", -1, 0.25)
    assert (decision.table_digest, decision.epoch) == (TABLE.digest, ALL.epoch_of("cost"))
    assert decision.available


def test_an_override_has_no_propensity_and_says_which_it_was() -> None:
    decision = decided(unit=unit_of("control"), headers={"x-qa": "on"})
    assert decision[:5] == ("cost", "canary", "price", 2, Reason.OVERRIDE)
    assert (decision.assigned, decision.override, decision.propensity) == ("canary", 0, None)


@pytest.mark.parametrize(("draw", "target"), [(0.0, "control"), (0.74, "control"), (0.76, "canary")])
def test_without_a_unit_the_draw_decides(draw: float, target: str) -> None:
    decision = decided(draw=draw)
    assert (decision.target, decision.reason) == (target, Reason.UNSTICKY)
    assert decision.propensity == TABLE.require("cost").propensities[target]


def test_a_fallback_does_not_forget_who_was_meant() -> None:
    decision = decided(names(price=(1,)), unit=unit_of("canary"))
    assert decision[:5] == ("cost", "control", "price", 1, Reason.FALLBACK)
    assert (decision.assigned, decision.propensity) == ("canary", 0.25)


def test_an_override_that_falls_back_is_still_known_as_one() -> None:
    decision = decided(names(price=(1,)), unit="u", headers={"x-qa": "on"})
    assert (decision.reason, decision.assigned, decision.override, decision.propensity) == (
        Reason.FALLBACK, "canary", 0, None,
    )  # fmt: skip


def test_where_nobody_can_answer_the_decision_says_who_was_to() -> None:
    nobody = names(price=(3,))
    decision = decided(nobody, unit=unit_of("canary"))
    assert decision[:5] == ("cost", "canary", "price", 2, Reason.SPLIT)
    assert not decision.available
    assert unavailable(nobody, decision).state == "not in the store"


def test_a_label_that_is_gone_is_named_in_the_refusal() -> None:
    decision = decide(ALL, Ask(name="bare"), 0.0)
    assert (decision.assigned, decision.version, decision.available) == ("a", 0, False)
    assert str(unavailable(ALL, decision)) == "model 'price' version gone is not available: no such label"


@pytest.mark.parametrize(
    ("ask", "model", "version", "reason"),
    [
        ({"name": "price"}, "price", 1, Reason.NAMED),
        ({"name": "rank"}, "rank", 3, Reason.NAMED),
        ({"name": "price", "version": "1"}, "price", 1, Reason.PINNED),
        ({"name": "price", "version": "champion"}, "price", 1, Reason.PINNED),
        ({"name": "cost", "version": "2", "unit": "u"}, "price", 2, Reason.PINNED),
    ],
)
def test_a_model_or_a_version_named_outright_is_no_split(
    ask: dict[str, str], model: str, version: int, reason: Reason
) -> None:
    assert decided(**ask) == Decision("", "", model, version, reason)


def test_a_bare_name_whose_champion_is_away_means_no_other_version() -> None:
    away = names(price=(2,))
    decision = decided(away, name="price")
    assert (decision.version, decision.reason, decision.available) == (1, Reason.NAMED, False)
    assert "version 1 is not available" in str(unavailable(away, decision))


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        ({"name": "nothing"}, RouteNotFoundError),
        ({"name": "price", "version": "9"}, VersionNotFoundError),
        ({"name": "price", "version": "nolabel"}, LabelNotFoundError),
        ({"name": "bare", "version": "1"}, ModelNotFoundError),
        ({"name": "cost", "task": Task.RANKING}, TaskMismatchError),
    ],
)
def test_what_does_not_exist_is_not_decided(ask: dict[str, object], error: type[TurnoutError]) -> None:
    with pytest.raises(error):
        decided(**ask)


def kept_out(reason: Reason) -> str:
    """Return a unit that the experiment keeps out for that reason."""
    return next(f"u{n}" for n in range(1000) if decided(tried(1, 2, 3), unit=f"u{n}").reason is reason)


def test_a_unit_that_takes_part_is_enrolled_and_has_the_splits_propensity() -> None:
    decision = decided(tried(1, 2, 3), unit=kept_out(Reason.SPLIT))
    assert (decision.experiment, decision.layer, decision.enrolled) == ("canary-2026", "checkout", True)
    assert decision.propensity == {"canary": 0.75, "other": 0.25}[decision.assigned]


@pytest.mark.parametrize("reason", [Reason.HOLDOUT, Reason.UNENROLLED])
def test_a_unit_that_does_not_take_part_gets_the_control_and_nothing_is_drawn(reason: Reason) -> None:
    decision = decided(tried(1, 2, 3), unit=kept_out(reason))
    assert decision[:5] == ("cost", "control", "price", 1, reason)
    assert (decision.assigned, decision.propensity) == ("control", None)
    assert (decision.experiment, decision.layer, decision.enrolled) == ("canary-2026", "checkout", False)


@pytest.mark.parametrize("reason", [Reason.HOLDOUT, Reason.UNENROLLED])
def test_a_fallback_for_the_control_enrols_nobody(reason: Reason) -> None:
    """A reason that counts is not enough to be counted."""
    decision = decided(tried(2, 3), unit=kept_out(reason))
    assert (decision.target, decision.reason, decision.assigned) == ("other", Reason.FALLBACK, "control")
    assert (decision.propensity, decision.enrolled) == (None, False)


def test_a_fallback_for_an_arm_leaves_its_unit_enrolled() -> None:
    unit = next(f"u{n}" for n in range(1000) if decided(tried(1, 2, 3), unit=f"u{n}").assigned == "canary")
    decision = decided(tried(1, 3), unit=unit)
    assert (decision.reason, decision.assigned, decision.propensity) == (Reason.FALLBACK, "canary", 0.75)
    assert decision.enrolled is True


@pytest.mark.parametrize(
    ("ask", "assigned", "reason"),
    [
        ({"unit": "u", "headers": {"x-qa": "on"}}, "canary", Reason.OVERRIDE),
        ({"draw": 0.99}, "control", Reason.UNSTICKY),
    ],
)
def test_who_was_not_asked_is_neither_enrolled_nor_kept_out(ask: dict[str, Any], assigned: str, reason: Reason) -> None:
    decision = decided(tried(1, 2, 3), **ask)
    assert (decision.assigned, decision.reason, decision.propensity) == (assigned, reason, None)
    assert (decision.experiment, decision.layer, decision.enrolled) == ("canary-2026", "checkout", None)


def test_without_an_experiment_nothing_is_said_of_one() -> None:
    decision = decided(unit="u")
    assert (decision.experiment, decision.layer, decision.enrolled) == ("", "", None)


def test_an_experiments_control_has_to_be_available_also_without_a_weight() -> None:
    cost = TRIED.require("cost")
    assert [one.assigned for one, _ in refused(tried(2), cost)] == ["other", "control"]
    assert refused(tried(1, 2, 3), cost) == ()


def test_candidates_are_what_requests_may_get_the_heaviest_first() -> None:
    assert [decision.assigned for decision in candidates(ALL, "bare")] == ["b", "a"]
    assert [decision.available for decision in candidates(ALL, "bare")] == [True, False]
    assert candidates(ALL, "price") == (decided(name="price"),)
    assert candidates(ALL, "cost", "2") == (decided(version="2"),)


def test_refused_are_requests_of_the_split_that_nobody_answers() -> None:
    cost, bare = TABLE.require("cost"), TABLE.require("bare")
    assert refused(ALL, cost) == refused(names(price=(1,)), cost) == ()  # a live fallback counts
    assert [decision.assigned for decision, _ in refused(names(price=(2,)), cost)] == ["control"]
    assert [(decision.assigned, error.state) for decision, error in refused(ALL, bare)] == [("a", "no such label")]
    assert [decision.assigned for decision, _ in refused(names(price=(1,)), bare)] == ["b", "a"]


def test_a_target_is_answered_for_by_its_own_version_never_by_the_fallback() -> None:
    canary = TABLE.require("cost").route.targets[1]
    assert (answers_for(ALL, canary), answers_for(names(price=(1,)), canary)) == (2, 0)


@given(unit=st.text(max_size=40), draw=st.floats(0, 1, exclude_max=True), stored=st.sets(st.integers(1, 3)))
def test_a_decision_is_among_the_candidates_and_says_truly_whether_it_is_available(
    unit: str, draw: float, stored: set[int]
) -> None:
    some = names(price=tuple(sorted(stored)))
    decision = decided(some, unit=unit, draw=draw)
    likely = {found.assigned: found for found in candidates(some, "cost")}[decision.assigned]
    assert (decision.target, decision.version, decision.available) == (likely.target, likely.version, likely.available)
    assert decision.available == (decision.version in stored)
    assert decision.available == bool(stored & {1}) or decision.assigned == "canary"
    assert decision.propensity == TABLE.require("cost").propensities[decision.assigned]
