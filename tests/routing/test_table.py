"""A route table is right, or it is refused whole with the place that is wrong."""

import contextlib
import copy
from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.together import check_first_use
from turnout_server.routing.split import pick
from turnout_server.routing.table import convert, digest_of, selectors
from turnout_server.routing.text import parse
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.errors import InvalidRouteTableError, RouteNotFoundError

GOOD = """
routes:
  price:
    task: price
    salt: price-2026-11
    targets:
      - {name: control, model: price, version: champion, weight: 90}
      - {name: canary, model: price, version: challenger, weight: 10}
    overrides:
      - {when: {header: {x-qa: "on"}}, target: canary}
      - {when: {unit: [customer-1, customer-2]}, target: control}
      - {when: {header: {x-team: "price", x-env: "dev"}, unit: [customer-3]}, target: canary}
    mirrors:
      - {model: price, version: 7, fraction: 0.05}
    fallback: control
"""


TRIED = """
layers:
  checkout: {salt: checkout-2026, holdout: 0.25}
routes:
  price:
    salt: price-2026-11
    targets:
      - {name: control, model: price, version: 1, weight: 50}
      - {name: canary, model: price, version: 2, weight: 50}
    overrides:
      - {when: {header: {x-qa: "on"}}, target: canary}
    experiment:
      name: canary-2026
      control: control
      layer: checkout
      buckets: [[0, 300], [600, 900]]
      enrolment: 0.5
"""


def test_a_route_without_a_task_takes_tensors() -> None:
    assert convert(changed(["task"], ...)).require("price").route.task == "tensors"


def changed(path: list[str | int], value: Any, text: str = "") -> Any:
    """Return a table's document with another value in its route `price`, or anywhere in *text*."""
    document = copy.deepcopy(yaml.safe_load(text or GOOD))
    at = document if text else document["routes"]["price"]
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (["task"], "pricing", "$.routes.price.task"),
        (["salt"], "", "$.routes.price.salt"),
        (["salt"], ..., "$.routes.price"),
        (["targets"], [], "$.routes.price.targets"),
        (["targets", 0, "weight"], -1, "$.routes.price.targets[0].weight"),
        (["targets", 1, "weight"], "10", "$.routes.price.targets[1].weight"),
        (["targets", 1, "weight"], float("nan"), "$.routes.price.targets[1].weight"),
        (["targets", 1, "weight"], float("inf"), "$.routes.price.targets[1].weight"),
        (["targets", 1, "name"], "control", "$.routes.price.targets[1].name"),
        (["targets", 1, "name"], "../canary", "$.routes.price.targets[1].name"),
        (["targets", 1, "model"], "Price", "$.routes.price.targets[1].model"),
        (["targets", 1, "model"], "price\n", "$.routes.price.targets[1].model"),
        (["targets", 1, "version"], 0, "$.routes.price.targets[1].version"),
        (["targets", 1, "version"], "7", "$.routes.price.targets[1].version"),
        (["targets", 1, "version"], True, "$.routes.price.targets[1].version"),
        (["targets", 1, "wieght"], 3, "$.routes.price.targets[1]"),
        (["overrides", 0, "target"], "nobody", "$.routes.price.overrides[0].target"),
        (["overrides", 0, "when"], {}, "$.routes.price.overrides[0].when"),
        (["overrides", 0, "when"], {"header": {"x-qa": True}}, "$.routes.price.overrides[0].when.header[...]"),
        (["mirrors", 0, "fraction"], 1.5, "$.routes.price.mirrors[0].fraction"),
        (["fallback"], "nobody", "$.routes.price.fallback"),
        (["extra"], 1, "$.routes.price"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(path: list[str | int], value: Any, place: str) -> None:
    with pytest.raises(InvalidRouteTableError) as caught:
        convert(changed(path, value))
    assert caught.value.place == place
    assert caught.value.message.startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (["layers"], None, "$.layers"),
        (["layers"], [], "$.layers"),
        (["layers", "A"], {"salt": "s"}, "$.layers.A"),
        (["layers", "checkout"], None, "$.layers.checkout"),
        (["layers", "checkout", "salt"], "", "$.layers.checkout.salt"),
        (["layers", "checkout", "salt"], "price-2026-11", "$.layers.checkout.salt"),
        (["layers", "checkout", "holdout"], 0.6, "$.layers.checkout.holdout"),
        (["layers", "checkout", "holdout"], -0.1, "$.layers.checkout.holdout"),
        (["layers", "checkout", "holdout"], float("nan"), "$.layers.checkout.holdout"),
        (["layers", "checkout", "buckets"], 1000, "$.layers.checkout"),
        (["routes", "price", "experiment"], "canary", "$.routes.price.experiment"),
        (["routes", "price", "experiment", "name"], ..., "$.routes.price.experiment"),
        (["routes", "price", "experiment", "name"], "Canary", "$.routes.price.experiment.name"),
        (["routes", "price", "experiment", "control"], "kontrol", "$.routes.price.experiment.control"),
        (["routes", "price", "experiment", "control"], ..., "$.routes.price.experiment"),
        (["routes", "price", "experiment", "layer"], "search", "$.routes.price.experiment.layer"),
        (["routes", "price", "experiment", "layer"], None, "$.routes.price.experiment.buckets"),
        (["routes", "price", "experiment", "buckets"], [], "$.routes.price.experiment.buckets"),
        (["routes", "price", "experiment", "buckets"], [[0, 0]] * 501, "$.routes.price.experiment.buckets"),
        (["routes", "price", "experiment", "buckets", 1], [600, 600], "$.routes.price.experiment.buckets[1]"),
        (["routes", "price", "experiment", "buckets", 1], [200, 600], "$.routes.price.experiment.buckets[1]"),
        (["routes", "price", "experiment", "buckets", 1], [600, 1001], "$.routes.price.experiment.buckets[1][1]"),
        (["routes", "price", "experiment", "buckets", 1], [-1, 600], "$.routes.price.experiment.buckets[1][0]"),
        (["routes", "price", "experiment", "buckets", 1], [1], "$.routes.price.experiment.buckets[1]"),
        (["routes", "price", "experiment", "enrolment"], 1.5, "$.routes.price.experiment.enrolment"),
        (["routes", "price", "experiment", "enrolment"], float("nan"), "$.routes.price.experiment.enrolment"),
        (["routes", "price", "experiment", "arms"], 2, "$.routes.price.experiment"),
    ],
)
def test_a_wrong_experiment_or_layer_is_refused_with_its_place(path: list[str | int], value: Any, place: str) -> None:
    with pytest.raises(InvalidRouteTableError) as caught:
        convert(changed(path, value, TRIED))
    assert caught.value.place == place


@pytest.mark.parametrize(
    "path", [["layers", "checkout", "holdout"], ["routes", "price", "mirrors"], ["routes", "price", "experiment"]]
)
def test_half_a_surrogate_pair_is_refused_also_where_no_text_is_expected(path: list[str | int]) -> None:
    with pytest.raises(
        InvalidRouteTableError, match=r"^\$\.(layers\.checkout|routes\.price): found '.ud800', with half"
    ):
        convert(changed(path, "\ud800", TRIED))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (["layers", "checkout", "buckets"], "salt, holdout"),
        (["layers", "with.dots"], "salt, holdout"),
        (["routes", "price", "experiment", "arms"], "name, control, layer, buckets, enrolment"),
        (["route"], "routes, layers"),
    ],
)
def test_an_unknown_key_of_an_experiment_or_layer_is_told_which_are_known(path: list[str | int], allowed: str) -> None:
    with pytest.raises(InvalidRouteTableError, match=f"allowed are {allowed}"):
        convert(changed(path, {"x": 3} if path[-1] == "with.dots" else 3, TRIED))


def test_an_override_wins_over_the_experiment() -> None:
    route = parse(TRIED).require("price")
    found = {route.assign(f"u{number}", {"x-qa": "on"}, 0.0) for number in range(50)}
    assert {(one.target.name, one.reason) for one in found} == {("canary", Reason.OVERRIDE)}


def test_without_a_unit_an_experiment_gives_the_control_whatever_is_drawn() -> None:
    """Or enrolment would hold back units, and let through whoever leaves the unit out."""
    route = parse(TRIED).require("price")
    found = {route.assign("", {}, draw / 10) for draw in range(10)}
    assert {(one.target.name, one.reason) for one in found} == {("control", Reason.UNSTICKY)}


def test_who_is_kept_out_gets_the_control_and_who_is_not_is_split() -> None:
    route = parse(TRIED).require("price")
    found = [route.assign(f"u{number}", {}, 0.0) for number in range(2000)]
    assert {(one.target.name, one.reason) for one in found} == {
        ("control", Reason.HOLDOUT),
        ("control", Reason.UNENROLLED),
        ("control", Reason.SPLIT),
        ("canary", Reason.SPLIT),
    }
    counts = Counter(one.target.name for one in found)
    assert route.expected() == pytest.approx({"control": 1 - 0.75 * 0.6 * 0.5 / 2, "canary": 0.75 * 0.6 * 0.5 / 2})
    assert counts["canary"] / 2000 == pytest.approx(route.expected()["canary"], abs=0.03)


def test_a_units_draws_and_scores_are_there_to_explain_it() -> None:
    route, plain = parse(TRIED).require("price"), parse(GOOD).require("price")
    assert route.draws("u") == route.gate.draws("u")
    assert (route.draws(""), plain.draws("u")) == (None, None)
    assert min(route.scores("u"), key=route.scores("u").__getitem__) == pick(route.route, "u").name
    assert route.scores("") == {}
    assert plain.expected() == plain.propensities


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(["sallt"], "salt"), (["targets", 0, "wieght"], "weight"), (["overrides", 0, "when", "headers"], "header")],
)
def test_an_unknown_key_is_told_which_are_known(path: list[str | int], allowed: str) -> None:
    with pytest.raises(InvalidRouteTableError, match=rf"allowed are .*\b{allowed}\b"):
        convert(changed(path, 3))


@pytest.mark.parametrize("header", ["X-QA", "x qa", 3])
def test_a_header_name_that_is_not_allowed_is_told_with_its_place(header: Any) -> None:
    with pytest.raises(InvalidRouteTableError) as caught:
        convert(changed(["overrides", 0, "when"], {"header": {"x-fine": "on", header: "on"}}))
    assert caught.value.place == "$.routes.price.overrides[0].when.header"
    assert caught.value.message.endswith(f": found the name {header!r}; a name must match ^[0-9a-z_.-]{{1,128}}$")


def test_a_key_that_is_a_number_is_told_with_its_place() -> None:
    with pytest.raises(InvalidRouteTableError) as caught:
        convert(changed(["targets", 0], {4: "a"}))
    assert caught.value.message == "$.routes.price.targets[0]: found the name 4; a key must be text"


def test_weights_that_are_all_zero_are_refused() -> None:
    document = changed(["targets", 0, "weight"], 0)
    document["routes"]["price"]["targets"][1]["weight"] = 0
    with pytest.raises(InvalidRouteTableError, match="every weight is 0"):
        convert(document)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "$"),
        ("# being written", "$"),
        ("{}", "$"),
        ("routes:", "$.routes"),
        ("- 1", "$"),
        ("routes: 3", "$.routes"),
        ("route: {}", "$.route"),
        ("routes: {A: {}}", "$.routes.A"),
        ("routes: {1: {}}", "$.routes.1"),
        ("routes: {a: null}", "$.routes.a"),
        ("a: [", "line 1, column 5"),
        ("routes: {}\nroutes: {}", "line 2, column 1"),
        ("routes: &x {}\nmore: *x", "line 2, column 7"),
        ("[" * 5000, "$"),
        ("\x00", "$"),
        ("routes: 1" + ":59" * 3000, "line 1, column 9"),
        ("routes: " + "9" * 5000, "line 1, column 9"),
        ("routes: {a: -9223372036854775808}", "line 1, column 13"),
        ("routes: {a: !!python/object:os.system {}}", "line 1, column 13"),
        ("? [a]\n: b", "line 1, column 3"),
    ],
)
def test_text_that_is_no_table_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(InvalidRouteTableError) as caught:
        parse(text)
    assert caught.value.place == place


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["routes", "a", "targets", "task"]), inner, max_size=3)
        ),
    )
)
def test_whatever_document_comes_it_is_a_table_or_an_invalid_one(document: Any) -> None:
    with contextlib.suppress(InvalidRouteTableError):
        convert(document)


def test_an_empty_table_that_says_so_serves_nothing() -> None:
    assert len(parse("routes: {}")) == 0


def test_a_table_knows_the_digest_of_its_text() -> None:
    assert parse(GOOD).digest == digest_of(GOOD)


def test_an_unknown_route_is_an_error_with_its_name() -> None:
    with pytest.raises(RouteNotFoundError, match="no route or model named 'nope'"):
        parse(GOOD).require("nope")


@pytest.mark.parametrize(
    ("unit", "headers", "target", "index"),
    [
        ("anyone", {"x-qa": "on"}, "canary", 0),
        ("", {"x-qa": "on"}, "canary", 0),
        ("customer-1", {"x-qa": "on"}, "canary", 0),
        ("customer-1", {"x-qa": "off"}, "control", 1),
        ("customer-3", {"x-team": "price", "x-env": "dev"}, "canary", 2),
    ],
)
def test_the_first_override_that_matches_decides(unit: str, headers: dict[str, str], target: str, index: int) -> None:
    assignment = parse(GOOD).require("price").assign(unit, headers, 0.0)
    assert (assignment.target.name, assignment.reason, assignment.override_index) == (target, Reason.OVERRIDE, index)


def test_an_override_needs_all_that_it_states() -> None:
    route = parse(GOOD).require("price")
    assert route.assign("customer-3", {"x-team": "price"}, 0.0).reason is Reason.SPLIT
    assert route.assign("customer-4", {"x-team": "price", "x-env": "dev"}, 0.0).reason is Reason.SPLIT


def test_a_request_without_a_unit_is_unsticky() -> None:
    route = parse(GOOD).require("price")
    assert route.assign("", {}, 0.5)[:2] == (route.route.targets[0], Reason.UNSTICKY)
    assert route.assign("", {}, 0.95)[:2] == (route.route.targets[1], Reason.UNSTICKY)


def test_selectors_are_all_that_the_table_refers_to() -> None:
    assert selectors(parse(GOOD)) == {"price": {"champion", "challenger", 7}}


def test_many_threads_may_read_the_first_ones() -> None:
    check_first_use("from turnout_server.routing.text import parse", "parse(sys.argv[1])", GOOD)
