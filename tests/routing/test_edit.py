"""Weights change in a table's text, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.routing.edit import Wanted, number, weights_for, with_weights
from turnout_server.routing.split import shares
from turnout_server.routing.text import parse
from turnout_server.vocabulary.errors import InvalidRouteTableError, RouteNotFoundError

TABLE = """\ufeff# Ours. \N{SNOWMAN}
routes:
  other: {task: price, salt: s, targets: [{name: canary, model: m, version: 1, weight: 10}]}
  price:   # the one that matters
    task: price
    salt: s
    targets:
      - {weight: 90, name: control, model: m, version: champion}   # what was
      - name: canary
        model: m
        weight:   !!float '10'   # careful
        version: challenger
      - {name: "shadow", model: m, version: 3, weight: 0}
    fallback: control
"""


def route(text: str = TABLE, name: str = "price") -> dict[str, float]:
    return {target.name: target.weight for target in parse(text).require(name).route.targets}


def test_only_the_numbers_are_replaced() -> None:
    text = with_weights(TABLE, "price", {"control": 75.0, "canary": 25.0})
    assert text == TABLE.replace("weight: 90,", "weight: 75,").replace("!!float '10'", "25")
    assert route(text) == {"control": 75, "canary": 25, "shadow": 0}
    assert route(text, "other") == {"canary": 10}


def test_an_experiment_and_its_layer_stay() -> None:
    experiment = "    experiment: {name: x, control: control, layer: l, buckets: [[0, 300]], enrolment: 0.25}\n"
    text = f"{TABLE}{experiment}layers: {{l: {{salt: l, holdout: 0.125}}}}\n"
    assert with_weights(text, "price", {"control": 75.0}) == text.replace("weight: 90,", "weight: 75,")


def test_line_endings_stay() -> None:
    text = TABLE.replace("\n", "\r\n")
    assert with_weights(text, "price", {"canary": 1.0}) == text.replace("!!float '10'", "1")


def test_the_same_weights_change_nothing() -> None:
    assert with_weights(TABLE, "price", {"control": 90.0, "canary": 10.0}) == TABLE


@given(st.floats(0, 1e9))
def test_what_is_written_is_read_back(weight: float) -> None:
    assert route(with_weights(TABLE, "price", {"canary": weight}))["canary"] == pytest.approx(weight, abs=1e-9)


def test_a_wrong_table_comes_of_nothing() -> None:
    with pytest.raises(InvalidRouteTableError, match="every weight is 0"):
        with_weights(TABLE, "price", {"control": 0.0, "canary": 0.0})
    with pytest.raises(InvalidRouteTableError):
        with_weights(TABLE, "price", {"canary": 2e9})
    with pytest.raises(RouteNotFoundError):
        with_weights(TABLE, "prices", {"canary": 1.0})
    with pytest.raises(InvalidRouteTableError):
        with_weights("routes: 3", "price", {"canary": 1.0})


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"canary": Wanted(25)}, [90, 25, 0]),
        ({"canary": Wanted(0.25, True)}, [75, 25, 0]),
        ({"shadow": Wanted(0.2, True)}, [72, 8, 20]),
        ({"control": Wanted(1.0, True)}, [100, 0, 0]),
        ({"control": Wanted(0.5, True), "canary": Wanted(0.3, True), "shadow": Wanted(0.2, True)}, [50, 30, 20]),
    ],
)
def test_shares_take_from_the_others_as_they_were(wanted: dict[str, Wanted], expected: list[float]) -> None:
    found = weights_for("price", parse(TABLE).require("price").route, wanted)
    assert list(found.values()) == pytest.approx([found[name] for name in found])
    assert [found[name] for name in ("control", "canary", "shadow")] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"cannary": Wanted(1)}, "no target named 'cannary'; the route has control, canary, shadow"),
        ({"control": Wanted(50), "canary": Wanted(0.5, True)}, "mixed"),
        ({"control": Wanted(0.7, True), "canary": Wanted(0.7, True)}, "come to 140 %"),
        ({name: Wanted(0.3, True) for name in ("control", "canary", "shadow")}, "come to 90 %"),
        ({"control": Wanted(0.5, True), "canary": Wanted(0.4, True)}, "10 % are left for shadow, whose weights are 0"),
    ],
)
def test_what_cannot_be_is_refused(wanted: dict[str, Wanted], said: str) -> None:
    with pytest.raises(InvalidRouteTableError, match=said):
        weights_for("price", parse(TABLE).require("price").route, wanted)


@given(st.floats(0.0, 1.0))
def test_a_share_is_what_the_route_gets(share: float) -> None:
    found = weights_for("price", parse(TABLE).require("price").route, {"canary": Wanted(share, True)})
    compiled = parse(with_weights(TABLE, "price", found)).require("price")
    assert shares(compiled.route.targets)["canary"] == pytest.approx(share, abs=1e-9)


def test_a_number_has_no_exponent() -> None:
    found = [number(weight) for weight in (0.0, 1e-7, 1e9, 12.5, 100.0)]
    assert found == ["0", "0.0000001", "1000000000", "12.5", "100"]
