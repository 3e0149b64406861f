"""Who takes part in an experiment, and that nobody who does ever moves."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from turnout_server.routing.enrolment import BUCKET, ENROLMENT, HOLDOUT, Draws, Gate
from turnout_server.routing.layer import Layer
from turnout_server.routing.route import ALL_BUCKETS, BUCKETS, Experiment, Route, Span, Target
from turnout_server.routing.split import Splitter, uniform, uniform_of
from turnout_server.routing.table import RouteTable
from turnout_server.vocabulary.decision import Reason

GOLDEN = json.loads(Path(__file__).with_name("golden_vectors.json").read_text(encoding="utf-8"))
UNITS = [f"unit-{number}" for number in range(1000)]
MANY = [f"customer-{number}" for number in range(20_000)]
LAYER = Layer("checkout-2026", 0.1)
ALMOST_NEVER = 1e-6
"""A test of independence that is right fails so seldom; these units are always the same."""

shares = st.floats(0, 1)
spans = st.tuples(st.integers(0, BUCKETS - 1), st.integers(1, BUCKETS)).filter(lambda span: span[0] < span[1])


def gate(
    enrolment: float = 1.0, buckets: tuple[Span, ...] = ALL_BUCKETS, layer: Layer | None = LAYER, salt: str = "salt"
) -> Gate:
    return Gate(salt, Experiment("x", "a", "checkout" if layer else None, buckets, enrolment), layer)


def taking_part(one: Gate) -> set[str]:
    return {unit for unit in UNITS if one.keeps_out(unit) is None}


@pytest.mark.parametrize("draw", GOLDEN["experiment_draws"], ids=lambda draw: f"{draw['name']}/{draw['unit'][:8]!r}")
def test_a_draw_is_what_it_has_always_been(draw: dict[str, str]) -> None:
    assert uniform(draw["salt"], draw["name"], draw["unit"]).hex() == draw["uniform"]


@pytest.mark.parametrize("layer", GOLDEN["buckets"], ids=lambda layer: layer["salt"])
def test_a_unit_is_in_the_bucket_that_it_has_always_been_in(layer: dict[str, Any]) -> None:
    one = gate(layer=Layer(layer["salt"]))
    assert {unit: one.draws(unit).bucket for unit in layer["units"]} == layer["units"]


@pytest.mark.parametrize("case", GOLDEN["experiments"], ids=lambda case: case["experiment"]["name"])
def test_who_takes_part_is_who_has_always_taken_part(case: dict[str, Any]) -> None:
    given_layer = case["experiment"]["layer"]
    layer = Layer(given_layer["salt"], given_layer["holdout"]) if given_layer else None
    buckets = tuple((first, end) for first, end in case["experiment"]["buckets"])
    one = gate(case["experiment"]["enrolment"], buckets, layer, case["salt"])
    found = {unit: one.keeps_out(unit) for unit in case["kept_out"]}
    assert {unit: reason.value if reason else None for unit, reason in found.items()} == case["kept_out"]


def test_no_target_can_share_a_draw_with_an_experiment() -> None:
    for name in (HOLDOUT, BUCKET, ENROLMENT):
        with pytest.raises(msgspec.ValidationError, match=r"matching regex .* `\$.name`"):
            msgspec.convert({"name": name, "model": "m", "version": 1, "weight": 1}, Target)


@given(shares, shares)
def test_enrolment_that_grows_only_lets_units_enter(one: float, other: float) -> None:
    lower, higher = sorted((one, other))
    assert taking_part(gate(lower)) <= taking_part(gate(higher))


@given(spans, spans)
def test_more_buckets_only_let_units_enter(first: Span, second: Span) -> None:
    assert taking_part(gate(buckets=(first,))) <= taking_part(gate(buckets=(first, second)))


@given(shares, shares, st.floats(0.01, 100))
def test_nobody_who_takes_part_changes_arms_while_the_split_stays(one: float, other: float, weight: float) -> None:
    """Whatever becomes of enrolment and buckets, and of the units beside."""
    targets = (Target("a", "m", 1, 1.0), Target("b", "m", 2, weight))
    arms = []
    for enrolment in (one, other):
        route = Route("salt", targets, experiment=Experiment("x", "a", "checkout", ((0, 700),), enrolment))
        compiled = RouteTable({"r": route}, layers={"checkout": LAYER}).require("r")
        placed = {unit: compiled.place(unit) for unit in UNITS[:500]}
        arms.append({unit: place.target.name for unit, place in placed.items() if place.reason is Reason.SPLIT})
        outside = {place.target.name for place in placed.values() if place.reason is not Reason.SPLIT}
        assert outside <= {"a"}
    both = arms[0].keys() & arms[1].keys()
    assert both == min((set(arm) for arm in arms), key=len)
    assert all(arms[0][unit] == arms[1][unit] for unit in both)


def test_the_holdout_comes_before_buckets_and_enrolment() -> None:
    none = gate(0.0, ((0, 1),), Layer("checkout-2026", 0.5))
    reasons = {unit: none.keeps_out(unit) for unit in UNITS}
    assert set(reasons.values()) == {Reason.HOLDOUT, Reason.UNENROLLED}
    for unit, reason in reasons.items():
        assert (reason is Reason.HOLDOUT) == (uniform("checkout-2026", HOLDOUT, unit) < 0.5)


def test_a_layers_holdout_is_the_same_for_all_of_its_experiments() -> None:
    first, second = gate(buckets=((0, 500),)), gate(0.3, ((500, 1000),), salt="other")
    held = [{unit for unit in UNITS if one.keeps_out(unit) is Reason.HOLDOUT} for one in (first, second)]
    assert held[0] == held[1] != set()
    assert not taking_part(first) & taking_part(second), "a layer's experiments share no unit"


@pytest.mark.parametrize(("enrolment", "expected"), [(0.0, 0), (1.0, len(UNITS))])
def test_enrolment_of_nobody_and_of_all_is_exact(enrolment: float, expected: int) -> None:
    assert len(taking_part(gate(enrolment, layer=None))) == expected


@given(st.floats(0, 0.5), spans, shares)
def test_as_many_take_part_as_expected(holdout: float, span: Span, enrolment: float) -> None:
    one = gate(enrolment, (span,), Layer("checkout-2026", holdout))
    sigma = math.sqrt(len(UNITS) * one.share * (1 - one.share))
    assert abs(len(taking_part(one)) - len(UNITS) * one.share) <= 5.5 * sigma + 1


def test_without_a_layer_there_is_neither_holdout_nor_bucket() -> None:
    assert gate(layer=None).draws("u") == Draws(None, None, uniform("salt", ENROLMENT, "u"))


def test_the_largest_draw_is_in_the_last_bucket() -> None:
    largest = (((1 << 52) - 1) * 2 + 1) * 2.0**-53
    assert largest < 1.0
    assert int(largest * BUCKETS) == BUCKETS - 1


def test_buckets_are_equally_full() -> None:
    counts = Counter(gate().draws(unit).bucket for unit in MANY)
    assert chi_square([[counts[number] for number in range(BUCKETS)]]) > ALMOST_NEVER


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("checkout-2026", BUCKET), ("search-2026", BUCKET)),
        (("checkout-2026", HOLDOUT), ("search-2026", HOLDOUT)),
        (("checkout-2026", HOLDOUT), ("checkout-2026", BUCKET)),
        (("checkout-2026", BUCKET), ("salt", ENROLMENT)),
        (("checkout-2026", BUCKET), ("salt", "control")),
        (("salt", ENROLMENT), ("salt", "control")),
        (("salt", ENROLMENT), ("other-salt", ENROLMENT)),
    ],
)
def test_draws_are_independent_of_each_other(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Two layers, a layer's holdout and buckets, layers and splits, enrolment and split: a table of ten by ten."""
    counts = Counter((int(uniform(*one, unit) * 10), int(uniform(*other, unit) * 10)) for unit in MANY)
    assert chi_square([[counts[row, column] for column in range(10)] for row in range(10)]) > ALMOST_NEVER


def test_draws_that_are_the_same_are_not_taken_for_independent() -> None:
    """The test above can fail."""
    counts = Counter((int(u * 10), int(u * 10)) for u in (uniform_of(b"", unit) for unit in MANY))
    assert chi_square([[counts[row, column] for column in range(10)] for row in range(10)]) < ALMOST_NEVER


def test_arms_of_an_experiment_are_equally_often_in_each_bucket_of_another_layer() -> None:
    """What an experiment does to its units is spread evenly over those of the other layer."""
    splitter = Splitter(Route("salt", (Target("a", "m", 1, 1.0), Target("b", "m", 2, 1.0))))
    other = gate(layer=Layer("search-2026"))
    counts = Counter((splitter.pick(unit).name, (other.draws(unit).bucket or 0) // 50) for unit in MANY)
    assert chi_square([[counts[arm, part] for part in range(20)] for arm in "ab"]) > ALMOST_NEVER


def chi_square(table: list[list[int]]) -> float:
    """Return how likely counts are that deviate so far, where rows and columns are independent, or one row is even."""
    total = sum(map(sum, table))
    columns = [sum(column) for column in zip(*table, strict=True)]
    if len(table) == 1:
        expected = [[total / len(columns)] * len(columns)]
    else:
        expected = [[sum(row) * column / total for column in columns] for row in table]
    distance = sum(
        (found - wanted) ** 2 / wanted
        for row, means in zip(table, expected, strict=True)
        for found, wanted in zip(row, means, strict=True)
    )
    return float(chi2.sf(distance, max(len(table) - 1, 1) * (len(columns) - 1)))
