"""What an analysis goes by: who counts, what of them counts, and when nothing may be said.

Each world has a hundred units or so, and every number in it was worked out by hand.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from tests.experiments.worlds import DAY, HOUR, LATER, START, World, experiment, halves
from turnout_server.config import JournalConfig
from turnout_server.experiments.added import parse
from turnout_server.experiments.belief import Loss
from turnout_server.experiments.definition import InvalidExperimentError
from turnout_server.experiments.evidence import OutOfRangeError
from turnout_server.experiments.findings import Comparison, Findings
from turnout_server.experiments.study import study
from turnout_server.journal.boot import Boot
from turnout_server.journal.ring import Ring
from turnout_server.journal.writer import Writer
from turnout_server.statistics.srm import Assigned, e_value
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.record import Record


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def found(world: World, as_of: datetime = LATER, threads: int | None = None, files: int = 1, **fields: Any) -> Findings:
    return study(world.write(files=files), experiment(**fields), as_of, is_frozen=True, threads=threads)


def primary(world: World, as_of: datetime = LATER, **fields: Any) -> Comparison:
    return found(world, as_of, **fields).comparisons[0]


def units_of(comparison: Comparison) -> tuple[int, int]:
    return comparison.control.units, comparison.treatment.units


MEAN = {"conversion": {"kind": "mean", "outcome": "purchase"}}


# ---------------------------------------------------------------- who counts


def test_a_unit_is_of_the_arm_of_its_first_exposure_whoever_served_it_and_however_it_ended(world: World) -> None:
    halves(world, map(str, range(40)))
    world.exposed("late", "old", 2 * HOUR)
    world.exposed("late", "new", HOUR)  # earlier, and written later
    world.exposed("refused", "new", code="VERSION_UNAVAILABLE")
    world.exposed("rescued", "new", reason="FALLBACK", served="old", version=1)
    one = found(world)
    assert units_of(one.comparisons[0]) == (20, 23)
    assert (one.soundness.moved, one.soundness.fallbacks, one.soundness.failed) == (1, 1, 1)


def test_of_exposures_at_one_time_the_one_with_the_lower_number_is_the_first(world: World) -> None:
    halves(world, map(str, range(40)))
    for boot, arm in (("0000000000000003", "new"), ("0000000000000002", "old"), ("0000000000000004", "new")):
        world.exposed("torn", arm, boot=boot)
    assert units_of(found(world).comparisons[0]) == (21, 20)


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({"reason": "OVERRIDE"}, "OVERRIDE"),
        ({"reason": "PINNED"}, "PINNED"),
        ({"reason": "UNSTICKY"}, "UNSTICKY"),
        ({"reason": "HOLDOUT"}, "HOLDOUT"),
        ({"enrolled": False}, "UNENROLLED"),
        ({"copy_of": 3}, "COPY"),
        ({"unit": None}, "NO_UNIT"),
        ({"experiment": "another"}, "OTHER_EXPERIMENT"),
        ({"assigned": "third"}, "OTHER_ARM"),
    ],
)
def test_what_was_not_drawn_for_a_unit_of_the_experiment_is_counted_and_never_analysed(
    world: World, others: dict[str, Any], why: str
) -> None:
    halves(world, map(str, range(40)))
    world.exposed("x", "new")
    world.records[-1] |= others
    one = found(world)
    assert units_of(one.comparisons[0]) == (20, 20)
    assert one.soundness.others == {why: 1}


def test_nobody_enters_before_the_start_or_after_the_stop_and_other_routes_are_others(world: World) -> None:
    halves(world, map(str, range(40)))
    world.exposed("early", "new", -HOUR)
    world.exposed("late", "new", 3 * DAY)
    world.exposed("elsewhere", "new", route="price")
    assert units_of(primary(world, stop=START + 2 * DAY)) == (20, 20)


def test_units_that_were_hashed_with_two_keys_are_told_since_nobody_knows_who_is_there_twice(world: World) -> None:
    halves(world, map(str, range(40)))
    assert found(world).marks == ()
    world.exposed("1", "new", DAY, unit_key_id="k2")
    one = found(world)
    assert "2 keys" in one.marks[0]
    assert one.soundness.units == 41


@pytest.mark.parametrize(("moved", "is_told"), [(2, False), (3, True)])
def test_assignments_that_did_not_stick_are_told(world: World, moved: int, is_told: bool) -> None:
    halves(world, map(str, range(200)))
    for index in range(moved):
        world.exposed(str(2 * index), "new", DAY)
    assert any("seems smaller" in mark for mark in found(world).marks) is is_told


def test_requests_are_no_units(world: World) -> None:
    halves(world, map(str, range(40)))
    for at in range(100):
        world.exposed("1", "new", at * HOUR)
    one = found(world)
    assert units_of(one.comparisons[0]) == (20, 20)
    assert one.soundness.exposures == 140


def test_robots_are_left_out_by_their_exposures_whichever_arm_they_are_in(world: World) -> None:
    halves(world, map(str, range(40)))
    for at in range(10):
        world.exposed("0", "old", at * HOUR)
        world.exposed("1", "new", at * HOUR)
    one = found(world, exclude={"exposures_over": 5})
    assert units_of(one.comparisons[0]) == (19, 19)
    assert one.soundness.excluded == 2


# ---------------------------------------------------------------- what of them counts


def test_an_outcome_counts_from_the_exposure_to_the_end_of_its_window(world: World) -> None:
    halves(world, map(str, range(40)), HOUR)
    moments = [HOUR - timedelta(microseconds=1), HOUR, HOUR + 7 * DAY - timedelta(microseconds=1), HOUR + 7 * DAY]
    for value, at in zip((1, 10, 100, 1000), moments, strict=True):
        world.did("0", at, value)
    one = found(world, metrics=MEAN)
    assert one.comparisons[0].control.value == pytest.approx(110 / 20)
    assert one.soundness.early == 1


def test_a_unit_without_outcomes_is_a_zero(world: World) -> None:
    halves(world, map(str, range(40)))
    world.did("1", HOUR)
    comparison = primary(world)
    assert (comparison.control.value, comparison.treatment.value) == (0, 1 / 20)


def test_only_units_whose_window_has_closed_count(world: World) -> None:
    halves(world, map(str, range(40)))
    halves(world, (f"young{index}" for index in range(40)), 5 * DAY)
    world.did("young1", 5 * DAY + HOUR)
    one = found(world, START + 8 * DAY)
    assert units_of(one.comparisons[0]) == (20, 20)
    assert one.soundness.immature == 40
    assert one.comparisons[0].treatment.value == 0
    assert units_of(primary(world, START + 12 * DAY)) == (40, 40)


def test_an_outcome_counts_once_however_often_it_comes(world: World) -> None:
    halves(world, map(str, range(40)))
    for _ in range(3):
        world.did("1", HOUR, 5, outcome_id="same")
    one = found(world, metrics=MEAN)
    assert one.comparisons[0].treatment.value == 5 / 20
    assert (one.soundness.outcomes, one.soundness.duplicates, one.soundness.quarantined) == (1, 2, 0)


@pytest.mark.parametrize("other", [{"value": 6.0}, {"name": "view"}, {"ts": START}, {"request_id": "r1"}])
def test_an_outcome_that_contradicts_itself_counts_nothing_and_shows(world: World, other: dict[str, Any]) -> None:
    halves(world, map(str, range(40)))
    world.did("1", HOUR, 5, outcome_id="same")
    world.did("1", HOUR, outcome_id="same", **({"value": 5} | other))
    one = found(world, metrics=MEAN)
    assert one.comparisons[0].treatment.value == 0
    assert one.soundness.quarantined == 1


def test_what_was_not_known_then_does_not_count(world: World) -> None:
    halves(world, map(str, range(40)))
    world.did("1", HOUR, ingested=START + 20 * DAY)
    assert primary(world, START + 20 * DAY - HOUR).treatment.value == 0
    assert primary(world, START + 20 * DAY).treatment.value == 1 / 20


def test_an_outcome_of_a_request_is_its_units_and_nobodys_where_two_units_share_the_id(world: World) -> None:
    halves(world, map(str, range(40)))
    world.exposed("2", "old", request_id="shared")
    world.exposed("3", "new", request_id="shared")
    world.did(None, HOUR, request_id="r1")
    world.did(None, HOUR, request_id="shared")
    world.did(None, HOUR, request_id="unknown")
    world.did("stranger", HOUR)
    one = found(world)
    assert (one.comparisons[0].control.value, one.comparisons[0].treatment.value) == (0, 1 / 20)
    assert (one.soundness.nobodys, one.soundness.strangers) == (2, 1)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ({"kind": "proportion"}, 1),
        ({"kind": "mean"}, 9),
        ({"kind": "mean", "cap": 8}, 8),
        ({"kind": "mean", "of": "count"}, 3),
        ({"kind": "mean", "of": "max"}, 5),
        ({"kind": "mean", "of": "min"}, 1),
        ({"kind": "ratio", "denominator": {"outcome": "view"}}, 9 / 4 * 20),  # of all views, and not by unit
    ],
)
def test_what_becomes_of_a_units_outcomes(world: World, metric: dict[str, Any], value: float) -> None:
    halves(world, map(str, range(40)))
    for amount in (1, 3, 5):
        world.did("1", HOUR, amount)
    for _ in range(4):
        world.did("1", HOUR, 100, name="view")
    world.did("2", HOUR, name="view")
    comparison = primary(world, metrics={"conversion": {"outcome": "purchase"} | metric})
    assert comparison.treatment.value == pytest.approx(value / 20)


def test_a_covariate_is_what_units_did_before_and_nobody_is_dropped(world: World) -> None:
    draw = random.Random(5)
    for index in range(400):
        arm = "new" if index % 2 else "old"
        world.exposed(str(index), arm)
        habit = draw.gauss(10, 3)
        if index % 5:  # a fifth of them has no past
            world.did(str(index), -DAY, habit)
        world.did(str(index), HOUR, habit + draw.gauss(0, 0.5))
    metric = {"kind": "mean", "outcome": "purchase", "covariate": {"lookback": "3d"}}
    with_it = primary(world, metrics={"conversion": metric}, units=400)
    without = primary(world, metrics=MEAN, units=400)
    assert units_of(with_it) == units_of(without) == (200, 200)
    assert with_it.theta_variance_left is not None
    assert with_it.theta_variance_left < 0.9
    assert without.theta_variance_left is None


# ---------------------------------------------------------------- how sure


def test_a_fixed_analysis_is_welchs_at_its_end_and_says_nothing_before(world: World) -> None:
    draw = random.Random(7)
    values: dict[str, list[float]] = {"old": [], "new": []}
    for index in range(300):
        arm = "new" if index % 3 == 0 else "old"
        world.exposed(str(index), arm, propensity=1 / 3 if arm == "new" else 2 / 3)
        values[arm].append(draw.gauss(1.5 if arm == "new" else 1, 1))
        world.did(str(index), HOUR, values[arm][-1])
    fields = {"metrics": MEAN, "method": "fixed", "days": 14}
    early = found(world, START + 20 * DAY, **fields)
    assert early.comparisons[0].p is None
    assert early.comparisons[0].treatment.value is None
    assert early.verdicts[0].verdict == "INCONCLUSIVE"
    assert not early.sequence
    late = found(world, START + 21 * DAY, **fields)
    oracle = stats.ttest_ind(values["new"], values["old"], equal_var=False)
    interval = oracle.confidence_interval(0.95)
    assert late.comparisons[0].p == pytest.approx(oracle.pvalue)
    assert late.comparisons[0].absolute.interval is not None
    assert late.comparisons[0].absolute.interval.low == pytest.approx(interval.low)
    assert late.comparisons[0].absolute.interval.high == pytest.approx(interval.high)
    assert late.verdicts[0].verdict == "WIN"


def test_a_sequential_analysis_is_silent_before_its_events(world: World) -> None:
    halves(world, map(str, range(40)))
    world.did("1", HOUR)
    one = found(world)
    assert one.comparisons[0].silence is not None
    assert one.comparisons[0].p is None
    assert one.verdicts[0].verdict == "INCONCLUSIVE"


def test_a_quantile_is_of_every_unit_that_counts(world: World) -> None:
    for index in range(201):
        world.exposed(f"o{index}", "old")
        world.exposed(f"n{index}", "new")
        world.did(f"o{index}", HOUR, float(index + 1))
        if index >= 100:
            world.did(f"n{index}", HOUR, float(index + 1))
    metric = {"kind": "quantile", "outcome": "purchase", "quantile": 0.5, "of": "max"}
    one = primary(world, metrics={"conversion": metric}, method="fixed", days=1)
    assert (one.control.value, one.treatment.value) == (101, 101)
    assert one.absolute.interval is not None
    assert one.absolute.interval.low < 0 < one.absolute.interval.high


def test_a_quantile_is_silent_while_units_enter(world: World) -> None:
    halves(world, map(str, range(40)))
    metrics = MEAN | {"slow": {"kind": "quantile", "outcome": "wait", "quantile": 0.5}}
    fields = {"metrics": metrics, "secondary": ["slow"], "stop": START + DAY}
    assert "one look" in str(found(world, START + 7 * DAY, **fields).comparisons[1].silence)
    assert found(world, START + 8 * DAY, **fields).comparisons[1].silence is None


def test_rare_events_are_compared_by_their_ratio(world: World) -> None:
    halves(world, map(str, range(2000)))
    for index in range(60):
        world.did(str(2 * index + 1), HOUR, name="error")
    for index in range(10):
        world.did(str(2 * index), HOUR, name="error")
    metric = {"kind": "rare", "outcome": "error", "better": "down"}
    one = found(world, metrics={"conversion": metric})
    assert one.comparisons[0].relative.interval is not None
    assert one.comparisons[0].relative.interval.low > 1
    assert one.verdicts[0].verdict == "LOSS"


def test_several_treatments_share_the_primarys_alpha_by_holm(world: World) -> None:
    for index in range(900):
        arm = ("old", "new", "newer")[index % 3]
        world.exposed(str(index), arm, propensity=1 / 3, version=("old", "new", "newer").index(arm) + 1)
        if (index % 3 == 1 and index % 2) or index % 7 == 0:
            world.did(str(index), HOUR)
    one = found(world, treatments=["new", "newer"], units=900)
    better, same = one.comparisons
    assert better.alpha == 0.025
    assert same.alpha == 0.05
    assert better.adjusted_p == pytest.approx(2 * (better.p or 0))
    assert [each.verdict for each in one.verdicts] == ["WIN", "INCONCLUSIVE"]


# ---------------------------------------------------------------- what cannot be


def test_a_mismatch_of_the_split_is_invalid_whatever_the_numbers_say(world: World) -> None:
    for index in range(2000):
        world.exposed(str(index), "new" if index % 10 < 4 else "old")
        if index % 10 < 3 or index % 100 == 9:
            world.did(str(index), HOUR)
    one = found(world)
    assert one.comparisons[0].p is not None
    assert one.comparisons[0].p < 1e-6
    assert one.verdicts[0].verdict == "INVALID"
    assert "mismatch" in one.verdicts[0].reasons[0]


def test_weights_that_change_within_an_epoch_are_invalid(world: World) -> None:
    halves(world, map(str, range(40)))
    world.exposed("x", "new", propensity=0.4)
    assert "weights changed" in found(world).verdicts[0].reasons[0]


def test_a_label_that_moves_is_invalid(world: World) -> None:
    halves(world, map(str, range(40)))
    world.exposed("x", "new", version=3, epoch="e2")
    assert found(world).verdicts[0].reasons[0] == "new was of versions 2 and 3"


def test_a_split_that_cannot_be_checked_is_invalid(world: World) -> None:
    for index in range(40):
        world.exposed(str(index), "new" if index % 2 else "old", propensity=None)
    assert "neither propensities nor weights" in found(world).verdicts[0].reasons[0]
    assert found(world, weights={"old": 1.0, "new": 1.0}).verdicts[0].verdict != "INVALID"


def test_a_ramp_makes_no_effect_out_of_better_days(world: World) -> None:
    """Simpson's paradox: later days convert better, and the treatment gets more of them. Pooled it would win."""
    draw = random.Random(3)
    rows = [("e1", 0.1, 0.1, 0), ("e2", 0.5, 0.3, 3)]
    for epoch, share, rate, day in rows:
        for index in range(2000):
            arm = "new" if draw.random() < share else "old"
            unit = f"{epoch}-{index}"
            world.exposed(unit, arm, day * DAY, epoch=epoch, propensity=share if arm == "new" else 1 - share)
            if draw.random() < rate:
                world.did(unit, day * DAY + HOUR)
    # What the weights were at the start is not what the second epoch's arms were drawn by.
    one = found(world, units=4000, weights={"old": 0.9, "new": 0.1})
    assert one.soundness.srm_p is not None
    assert one.soundness.srm_p > 0.001
    comparison = one.comparisons[0]
    pooled_new = sum(each.treatment_units * (each.treatment or 0) for each in comparison.epochs) / 1200
    pooled_old = sum(each.control_units * (each.control or 0) for each in comparison.epochs) / 2800
    assert pooled_new - pooled_old > 0.05
    assert comparison.absolute.interval is not None
    assert abs(comparison.absolute.value or 1) < 0.03
    assert one.verdicts[0].verdict != "WIN"


def test_a_unit_that_comes_back_after_the_weights_have_moved_counts_once_where_it_began(world: World) -> None:
    halves(world, map(str, range(40)))
    for index in range(40):
        world.exposed(str(index), "new", 2 * DAY, epoch="e2", propensity=0.9)
    one = found(world)
    assert units_of(one.comparisons[0]) == (20, 20)
    assert [each.epoch for each in one.comparisons[0].epochs] == ["e1"]
    assert one.soundness.moved == 20


def test_without_a_start_there_is_nothing_to_look_at(world: World) -> None:
    with pytest.raises(InvalidExperimentError, match=r"\$\.start: missing"):
        found(world, start=None)
    with pytest.raises(InvalidExperimentError, match="is not before"):
        found(world, START)


@pytest.mark.parametrize(
    ("records", "started", "told"),
    [
        ({"old": ("m", 1), "new": ("m2", 1)}, {}, None),
        ({"old": ("m", 1), "new": ("m", 1)}, {}, "new and old were both m version 1"),
        ({"old": ("m", 1), "new": ("m", 2)}, {"new": ("m", 3)}, "new was m version 2, and started as m version 3"),
        ({"old": ("m", 1), "new": ("n", 1)}, {"new": ("m", 1)}, "new was n version 1, and started as m version 1"),
        ({"old": ("m", 0), "new": ("m", 0)}, {}, None),  # what was logged elsewhere may know no versions
    ],
)
def test_arms_are_of_the_versions_that_they_started_with_and_of_different_ones(
    world: World, records: dict[str, tuple[str, int]], started: dict[str, tuple[str, int]], told: str | None
) -> None:
    for index in range(40):
        arm = "new" if index % 2 else "old"
        world.exposed(str(index), arm, model=records[arm][0], version=records[arm][1])
    one = study(world.write(), experiment(), LATER, is_frozen=True, started=started)
    reasons = one.verdicts[0].reasons
    assert told in reasons if told else one.verdicts[0].verdict == "INCONCLUSIVE"


def test_records_that_are_lost_are_invalid_from_one_in_a_hundred_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(2000):
        world.exposed(str(index), "new" if index % 50 == 0 else "old", propensity=0.02 if index % 50 == 0 else 0.98)
    for offered, lost, verdict in ((10_000_000, 1, "INCONCLUSIVE"), (1000, 11, "INVALID"), (1000, 1000, "INVALID")):
        monkeypatch.setattr("turnout_server.experiments.study._loss", lambda *_, counts=(offered, lost): Loss(*counts))
        assert found(world).verdicts[0].verdict == verdict


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ({"old": 3, "new": 4}, None),
        ({"old": 0, "new": 25}, "the arms lost exposures unequally"),
        ({"old": 30, "new": 30}, "an arm lost more than 1% of its exposures"),
    ],
)
def test_arms_that_lost_too_much_or_unequally_are_not_compared(
    world: World, monkeypatch: pytest.MonkeyPatch, lost: dict[str, int], told: str | None
) -> None:
    halves(world, map(str, range(5000)))
    total = sum(lost.values())
    monkeypatch.setattr("turnout_server.experiments.study._loss", lambda *_: Loss(10_000_000, total, lost, 2))
    findings = found(world)
    assert [(arm.name, arm.kept, arm.lost) for arm in findings.soundness.losses] == [
        ("old", 2500, lost["old"]),
        ("new", 2500, lost["new"]),
    ]
    assert (findings.soundness.lost_unknown, findings.soundness.clumping) == (2, 1.0)
    assert (findings.verdicts[0].verdict == "INVALID") is (told is not None)
    assert told is None or findings.verdicts[0].reasons[0].startswith(told)


def test_one_busy_unit_that_was_lost_in_a_burst_is_no_difference_between_arms(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exposures went together, and would be 25 pieces of evidence if they were counted one by one."""
    halves(world, map(str, range(5000)))
    for index in range(600):
        world.exposed("1", "new", index * timedelta(seconds=1))
    lost = {"old": 0, "new": 25}
    monkeypatch.setattr("turnout_server.experiments.study._loss", lambda *_: Loss(10_000_000, 25, lost))
    findings = found(world)
    assert findings.soundness.clumping == pytest.approx((4999 + 601**2) / 5600)
    assert findings.verdicts[0].verdict == "INCONCLUSIVE"


def test_what_a_gateways_journal_lost_is_known_by_arm(tmp_path: Path) -> None:
    ring = Ring(60)
    config = JournalConfig(path=str(tmp_path / "journal"), ring_records=60)
    writer = Writer(config, Boot("gw", "0" * 16), ring, [b"sixteen bytes or"])
    arrived_ns = (START + HOUR).timestamp() * 1e9
    for seq in range(100):
        arm = "new" if seq % 2 else "old"
        decision = Decision("ranking", arm, "ranking", 1 + seq % 2, Reason.SPLIT, arm, -1, 0.5, "d", "e")
        if seq % 10 == 9:
            decision = decision._replace(route="another")
        ring.append(Record(seq, int(arrived_ns) + seq, 1, "OK", decision, decision.route, f"u{seq}"))
    writer.turn(0.0, closing=True)
    writer.release()
    sound = study(tmp_path / "journal", experiment(), LATER, is_frozen=True).soundness
    assert [(arm.kept, arm.lost) for arm in sound.losses] == [(30, 20), (24, 16)]
    assert (sound.offered, sound.lost, sound.lost_unknown) == (100, 40, 0)
    earlier = experiment(start=START - 9 * DAY, stop=START)
    assert [arm.lost for arm in study(tmp_path / "journal", earlier, LATER, is_frozen=True).soundness.losses] == [0, 0]


def test_the_e_value_of_the_split_is_of_first_exposures(world: World) -> None:
    """Requests are no units: who asks a thousand times says of the split what others say."""
    halves(world, map(str, range(400)))
    once = found(world).soundness.srm_e
    for index in range(1000):
        world.exposed("1", "new", index * timedelta(seconds=1))
    assert found(world).soundness.srm_e == once == pytest.approx(e_value([Assigned((200, 200), (0.5, 0.5))]))


def test_what_is_added_later_is_marked_everywhere_and_changes_nothing_of_what_was_fixed(world: World) -> None:
    halves(world, map(str, range(400)))
    for index in range(400):
        if index % 5 == 0 or index % 16 == 1:
            world.did(str(index), HOUR)
        if index % 3 == 0 or index % 4 == 1:
            world.did(str(index), HOUR, 1.0, name="visit")
    metrics = {
        "conversion": {"kind": "proportion", "outcome": "purchase"},
        "worth": {"kind": "mean", "outcome": "purchase"},
    }
    asked = experiment(metrics=metrics, secondary=["worth"])
    added = parse("visits: {kind: proportion, outcome: visit}", asked, (), START + DAY, "ana")
    journal = world.write()
    before = study(journal, asked, LATER, is_frozen=True)
    after = study(journal, asked, LATER, is_frozen=True, added=added)
    assert [each for each in after.comparisons if each.metric != "visits"] == list(before.comparisons)
    assert (after.definition_digest, after.definition) == (before.definition_digest, before.definition)
    assert after.verdicts == before.verdicts
    assert (after.soundness, after.sequence) == (before.soundness, before.sequence)
    (visits,) = (each for each in after.comparisons if each.metric == "visits")
    (worth,) = (each for each in after.comparisons if each.metric == "worth")
    assert (visits.added, visits.role, visits.exploratory) == (START + DAY, "secondary", True)
    assert visits.p is not None
    assert worth.p is not None
    assert visits.adjusted_p == pytest.approx(min(2 * visits.p, max(visits.p, worth.p))), "it is one of two"
    assert worth.adjusted_p == worth.p, "it was one of one"
    assert [(one.metric, one.by, one.definition["outcome"]) for one in after.added] == [("visits", "ana", "visit")]
    assert after.marks == ("visits was added 2026-10-02 00:00 UTC by ana, after the start: it is exploratory",)


# ---------------------------------------------------------------- numbers that are hard


def test_one_absurd_outcome_beside_a_cap_takes_nothing_from_the_others(world: World) -> None:
    halves(world, map(str, range(400)))
    for index in range(400):
        world.did(str(index), HOUR, 10.0 + index % 7)
    capped = {"conversion": {"kind": "mean", "outcome": "purchase", "cap": 500}}
    before = primary(world, metrics=capped)
    world.did("0", HOUR, 1e20)
    after = primary(world, metrics=capped)
    assert after.treatment.value == before.treatment.value
    assert after.control.value == pytest.approx((before.control.value or 0) + 490 / 200)


@pytest.mark.parametrize("small", [0.99, 2.49, 2.99, 4.99])
def test_a_small_number_alone_on_its_day_beside_a_large_one_is_no_contradiction(world: World, small: float) -> None:
    halves(world, map(str, range(40)))
    world.did("1", HOUR, 1e6)
    world.exposed("lone", "new", 2 * DAY)
    world.did("lone", 2 * DAY + HOUR, small)
    for metric in ({"kind": "mean"}, {"kind": "ratio", "denominator": {"outcome": "purchase", "of": "sum"}}):
        one = primary(world, metrics={"conversion": {"outcome": "purchase"} | metric})
        assert one.treatment.units == 21


def test_what_differs_by_less_than_rounding_leaves_is_not_told_apart(world: World) -> None:
    draw = random.Random(9)
    halves(world, map(str, range(400)))
    for index in range(400):
        world.did(str(index), HOUR, draw.gauss(1.79e9, 60))
    one = found(world, metrics=MEAN, method="fixed", days=1)
    assert "too little beside their mean" in str(one.comparisons[0].silence)
    assert one.verdicts[0].verdict == "INCONCLUSIVE"


@pytest.mark.parametrize("value", [1e80, 1e300])
def test_numbers_whose_squares_are_too_large_are_told(world: World, value: float) -> None:
    halves(world, map(str, range(40)))
    for index in range(40):
        world.did(str(index), HOUR, value * (1 + index))
    with pytest.raises(OutOfRangeError, match="outcomes are too large"):
        found(world, metrics=MEAN, method="fixed", days=1)


def test_harm_where_control_has_none_is_harm(world: World) -> None:
    halves(world, map(str, range(2000)))
    for index in range(100):
        world.did(str(20 * index), HOUR)
        world.did(str(20 * index + 1), HOUR)
        world.did(str(20 * index + 1), HOUR, name="error")
    metrics = {
        "conversion": {"kind": "proportion", "outcome": "purchase"},
        "error": {"kind": "proportion", "outcome": "error", "better": "down"},
    }
    one = found(world, metrics=metrics, guardrails=["error"], method="fixed", days=1)
    assert one.verdicts[0].verdict == "LOSS"


def test_a_small_arm_of_a_small_epoch_is_no_mismatch(world: World) -> None:
    for index in range(2000):
        world.exposed(str(index), "new" if index % 100 == 0 else "old", propensity=0.01 if index % 100 == 0 else 0.99)
    for index in range(4):
        share = 0.99 if index else 0.01
        world.exposed(f"few{index}", "old" if index else "new", DAY, epoch="e2", propensity=share)
    assert found(world, stop=START + 2 * DAY).verdicts[0].verdict == "INCONCLUSIVE"


@pytest.mark.parametrize("converted", [350, 356, 358, 362, 370])
def test_an_interval_leaves_0_out_exactly_when_the_adjusted_p_is_below_alpha(world: World, converted: int) -> None:
    counts = {"old": 267, "new": converted, "newer": 270}
    for version, (arm, count) in enumerate(counts.items(), 1):
        for index in range(1334):
            world.exposed(f"{arm}{index}", arm, propensity=1 / 3, version=version)
            if index < count:
                world.did(f"{arm}{index}", HOUR)
    better = found(world, treatments=["new", "newer"], units=40_000).comparisons[0]
    assert better.relative.interval is not None
    assert better.adjusted_p is not None
    assert (better.relative.interval.low > 0) is (better.adjusted_p < 0.05)


# ---------------------------------------------------------------- the same twice


def test_the_answer_is_the_same_to_the_bit_however_many_threads_and_files_there_are(tmp_path: Path) -> None:
    draw = np.random.default_rng(11)
    world = World(tmp_path / "one")
    for index in range(3000):
        world.exposed(str(index), "new" if draw.random() < 0.5 else "old", index * timedelta(minutes=1))
        for _ in range(int(draw.integers(0, 4))):
            world.did(str(index), index * timedelta(minutes=1) + HOUR, float(draw.lognormal(3, 2)))
    metrics = {
        "conversion": {"kind": "mean", "outcome": "purchase", "covariate": {"lookback": "1d"}},
        "ratio": {"kind": "ratio", "outcome": "purchase", "denominator": {"outcome": "purchase"}},
    }
    fields = {"metrics": metrics, "guardrails": ["ratio"], "units": 3000}
    first = found(world, threads=1, **fields)
    assert msgspec.json.encode(first) == msgspec.json.encode(found(world, threads=4, **fields))
    world.root = tmp_path / "seven"
    world.records.reverse()
    again = found(world, threads=3, files=7, **fields)
    assert again.comparisons == first.comparisons
    assert again.sequence == first.sequence
