"""Splits stick, match their weights, and move nobody whom they need not."""

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.routing.route import Route, Target
from turnout_server.routing.split import Splitter, pick, scores, shares, uniform

GOLDEN = json.loads(Path(__file__).with_name("golden_vectors.json").read_text(encoding="utf-8"))
UNITS = [f"unit-{number}" for number in range(4000)]

weights = st.one_of(st.floats(min_value=1e-3, max_value=1e6), st.integers(1, 100).map(float))
arms = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), weights, min_size=1, max_size=5)


def route_of(by_name: dict[str, float], salt: str = "salt") -> Route:
    return Route(salt, tuple(Target(name, "m", 1, weight) for name, weight in by_name.items()))


def picked(by_name: dict[str, float], salt: str = "salt") -> dict[str, str]:
    splitter = Splitter(route_of(by_name, salt))
    return {unit: splitter.pick(unit).name for unit in UNITS}


@pytest.mark.parametrize(
    "draw", GOLDEN["draws"], ids=lambda draw: f"{draw['salt']}/{draw['target']}/{draw['unit'][:8]!r}"
)
def test_a_draw_is_what_it_has_always_been(draw: dict[str, str]) -> None:
    assert uniform(draw["salt"], draw["target"], draw["unit"]).hex() == draw["uniform"]


@pytest.mark.parametrize("split", GOLDEN["splits"], ids=lambda split: split["salt"])
def test_a_unit_gets_the_target_that_it_has_always_got(split: dict) -> None:
    route = route_of(split["weights"], split["salt"])
    assert {unit: pick(route, unit).name for unit in split["picks"]} == split["picks"]


def test_another_process_with_another_hash_seed_agrees() -> None:
    code = (
        "from turnout_server.routing.route import Route, Target\n"
        "from turnout_server.routing.split import pick\n"
        "r = Route('s', (Target('a', 'm', 1, 3.0), Target('b', 'm', 1, 1.0), Target('c', 'm', 1, 2.0)))\n"
        "print(''.join(pick(r, f'u{i}').name for i in range(500)))\n"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
    assert len(runs.pop().strip()) == 500


@given(arms)
def test_shares_match_the_weights(by_name: dict[str, float]) -> None:
    counts = Counter(picked(by_name).values())
    for name, share in shares(route_of(by_name).targets).items():
        sigma = math.sqrt(len(UNITS) * share * (1 - share))
        assert abs(counts[name] - len(UNITS) * share) <= 5.5 * sigma + 1


@given(arms, st.text(min_size=1, max_size=9))
def test_the_lowest_score_is_who_is_picked(by_name: dict[str, float], unit: str) -> None:
    route = route_of({**by_name, "off": 0.0})
    found = scores(route, unit)
    assert found.keys() == by_name.keys()
    assert min(found, key=found.__getitem__) == pick(route, unit).name


@given(arms, st.data())
def test_a_new_weight_moves_units_only_to_or_from_its_target(by_name: dict[str, float], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(by_name)))
    weight = data.draw(weights)
    before, after = picked(by_name), picked({**by_name, name: weight})
    moved = {(before[unit], after[unit]) for unit in UNITS if before[unit] != after[unit]}
    if weight >= by_name[name]:
        assert all(to == name for _, to in moved), "growing only attracts"
    else:
        assert all(origin == name for origin, _ in moved), "shrinking only lets go"


@given(arms)
def test_a_new_target_only_takes(by_name: dict[str, float]) -> None:
    before, after = picked(by_name), picked({**by_name, "new": 10.0})
    assert all(after[unit] in (before[unit], "new") for unit in UNITS)


@given(arms, st.floats(min_value=0.01, max_value=100))
def test_only_the_ratios_of_the_weights_count(by_name: dict[str, float], factor: float) -> None:
    scaled = {name: weight * factor for name, weight in by_name.items()}
    same = sum(a == b for a, b in zip(picked(by_name).values(), picked(scaled).values(), strict=True))
    assert same >= len(UNITS) - 1, "rounding may flip a tie, no more"


@given(arms)
def test_the_order_of_the_targets_does_not_count(by_name: dict[str, float]) -> None:
    assert picked(by_name) == picked(dict(reversed(by_name.items())))


def test_a_weight_of_zero_gets_nobody() -> None:
    assert set(picked({"on": 1e-9, "off": 0.0}).values()) == {"on"}
    splitter = Splitter(route_of({"off": 0.0, "on": 1.0, "off-too": 0.0}))
    assert {splitter.draw(u).name for u in (0.0, 0.5, math.nextafter(1.0, 0.0))} == {"on"}


def test_two_salts_assign_independently() -> None:
    first, second = picked({"a": 1.0, "b": 1.0}, "one"), picked({"a": 1.0, "b": 1.0}, "two")
    agreeing = sum(first[unit] == second[unit] for unit in UNITS)
    assert abs(agreeing - len(UNITS) / 2) < 5.5 * math.sqrt(len(UNITS) / 4)


@given(st.text(), st.text(), st.text(), st.text())
def test_what_belongs_to_the_salt_never_passes_for_the_target(salt: str, target: str, unit: str, more: str) -> None:
    if more:
        assert uniform(salt + more, target, unit) != uniform(salt, more + target, unit)


@given(st.text(), st.text(), st.text(alphabet=st.characters()))
def test_a_draw_lies_strictly_between_0_and_1(salt: str, target: str, unit: str) -> None:
    assert 0.0 < uniform(salt, target, unit) < 1.0


@given(arms, st.integers(1, 2000))
def test_unsticky_draws_follow_the_weights_exactly(by_name: dict[str, float], steps: int) -> None:
    splitter = Splitter(route_of(by_name))
    counts = Counter(splitter.draw((step + 0.5) / steps).name for step in range(steps))
    for name, share in shares(route_of(by_name).targets).items():
        assert abs(counts[name] - steps * share) <= 1.0 + 1e-6 * steps
