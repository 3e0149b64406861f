"""The engine decides as `routing.decide` does, or leaves it to Python."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout_server.engine import snapshot
from turnout_server.routing.decide import decide
from turnout_server.routing.layer import Layer
from turnout_server.routing.laying import lay
from turnout_server.routing.overlay import Overlay, Step, footing
from turnout_server.routing.route import ALL_BUCKETS, BUCKETS, Experiment, Mirror, Override, Route, Target, When
from turnout_server.routing.split import pick, uniform
from turnout_server.routing.table import RouteTable
from turnout_server.routing.view import View
from turnout_server.vocabulary.ask import Ask
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.versions import VersionKey

engine = pytest.importorskip("turnout_engine")

GOLDEN = json.loads((Path(__file__).parents[1] / "routing" / "golden_vectors.json").read_text(encoding="utf-8"))
MODELS = ("price", "rank", "shop")
LABELS = ("champion", "canary", "v2")
NAMES = (*MODELS, "cost", "front", "nobody")
"""Routes may be called as models are."""
HEADERS = ("x-qa", "x-team")


class World:
    """Implements `routing.decide.Names` over plain values."""

    def __init__(self, view: View, stored: Mapping[str, Sequence[int]], available: Mapping[str, Sequence[int]]) -> None:
        self.view = view
        self.table = view.table
        self.key_of = view.key_of
        self.epoch_of = view.epoch_of
        self._stored = stored
        self._available = available
        self.json = snapshot.names(view, stored.keys(), available)

    def stored(self, model: str) -> Sequence[int]:
        return self._stored.get(model, ())

    def newest(self, model: str) -> int:
        return max(self._available.get(model, ()), default=0)

    def is_available(self, key: VersionKey) -> bool:
        return key.version in self._available.get(key.model, ())

    def state_of(self, key: VersionKey) -> str:
        return "elsewhere"

    def natively(self, ask: Ask, draw: float) -> tuple | None:
        return engine.decide(self.json, ask.name, ask.version, ask.unit, dict(ask.headers), draw)

    def in_python(self, ask: Ask, draw: float) -> tuple | None:
        """Return what the engine is to say."""
        try:
            decision = decide(self, ask, draw)
        except TurnoutError:
            return None
        if not decision.available:
            return None
        route = self.table.get(decision.route)
        mirrored = route is not None and any(mirror.fraction for mirror in route.mirrors)
        return (*decision[:4], decision.reason.value, *decision[5:10], decision[11:], mirrored)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
"""What a request can hold: no half of a surrogate pair."""
units = st.one_of(st.sampled_from(["", "u", "ü", "日本語", "🚉", "long " * 110, "x" * 1024]), texts)
weights = st.one_of(
    st.just(0.0),
    st.integers(1, 100).map(float),
    st.floats(0, 1e9),
    st.sampled_from([5e-324, 1e-300, 1e-9, 0.1, 1e9]),
)
selectors = st.one_of(st.integers(1, 4), st.sampled_from(LABELS))
values = st.one_of(st.sampled_from(["on", ""]), st.text(max_size=2))


@st.composite
def routes(draw: st.DrawFn) -> Route:
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True))
    models = MODELS if draw(st.booleans()) else (draw(st.sampled_from(MODELS)),)
    targets = [Target(name, draw(st.sampled_from(models)), draw(selectors), draw(weights)) for name in names]
    if not any(target.weight for target in targets):
        targets[0] = Target(targets[0].name, targets[0].model, targets[0].version, 1.0)
    overrides = []
    for _ in range(draw(st.integers(0, 3))):
        headers = draw(st.dictionaries(st.sampled_from(HEADERS), values, max_size=2))
        chosen = draw(st.lists(st.one_of(units, st.just("half \ud800")), max_size=3))
        if headers or chosen:
            overrides.append(Override(When(headers, tuple(chosen)), draw(st.sampled_from(names))))
    mirrors = [Mirror("shop", 1, draw(st.sampled_from([0.0, 0.5]))) for _ in range(draw(st.integers(0, 2)))]
    fallback = draw(st.one_of(st.none(), st.sampled_from(names)))
    salt = draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9))
    return Route(salt, tuple(targets), "tensors", tuple(overrides), tuple(mirrors), fallback)


LAYERS = {"alone": Layer("layer-1"), "kept": Layer("layer-2", 0.3), "ü": Layer("ü-layer", 0.5)}
"""No route can have one of their salts."""


@st.composite
def tables(draw: st.DrawFn, names: Sequence[str] = NAMES[1:-1], *, tried: bool = False) -> RouteTable:
    """Make a table some of whose routes have experiments, or all of them; those share layers."""
    found = draw(st.dictionaries(st.sampled_from(names), routes(), min_size=int(tried), max_size=3))
    edges = draw(st.lists(st.integers(0, BUCKETS), min_size=2 * len(found), max_size=2 * len(found), unique=True))
    spans = list(zip(*[iter(sorted(edges))] * 2, strict=True))
    for (name, route), span in zip(list(found.items()), spans, strict=True):
        if tried or draw(st.booleans()):
            layer = draw(st.one_of(st.none(), st.sampled_from(list(LAYERS))))
            control = draw(st.sampled_from([target.name for target in route.targets]))
            enrolment = draw(st.one_of(st.sampled_from([0.0, 1.0, 5e-324]), st.floats(0, 1)))
            experiment = Experiment(f"on-{name}", control, layer, (span,) if layer else ALL_BUCKETS, enrolment)
            found[name] = msgspec.structs.replace(route, experiment=experiment)
    return RouteTable(found, draw(texts), LAYERS)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    versions = st.lists(st.integers(1, 4), unique=True).map(sorted)
    table = draw(tables())
    labels = draw(st.dictionaries(st.sampled_from(MODELS), st.dictionaries(st.sampled_from(LABELS), st.integers(1, 4))))
    stored = draw(st.dictionaries(st.sampled_from(MODELS), versions.filter(bool)))
    return World(View(table, labels), stored, draw(st.dictionaries(st.sampled_from(MODELS), versions)))


asked = st.builds(
    Ask,
    name=st.one_of(st.sampled_from(NAMES), texts.filter(bool)),
    version=st.one_of(
        st.just(""),
        st.just(""),
        st.integers(0, 5).map(str),
        st.sampled_from([*LABELS, "002", "0", "1" * 18, "1" * 30, "4" + "0" * 20, "-1", "1.0", "٢"]),
        texts,
    ),
    unit=units,
    headers=st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(["on", "", "off"])),
)
draws = st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 0.5, math.nextafter(1, 0)]))


@given(worlds(), st.lists(st.tuples(asked, draws), min_size=10, max_size=20))
@settings(max_examples=60)
def test_whatever_names_mean_both_decide_alike(world: World, asks: list[tuple[Ask, float]]) -> None:
    for ask, draw in asks:
        assert world.natively(ask, draw) == world.in_python(ask, draw)


def everything(table: RouteTable) -> World:
    """Return a world in which all that *table* names is available."""
    labels = {model: dict.fromkeys(LABELS, 2) for model in MODELS}
    versions = {model: [1, 2, 3, 4] for model in MODELS}
    return World(View(table, labels), versions, versions)


@given(routes(), st.lists(units, min_size=20, max_size=40), draws)
@settings(max_examples=40)
def test_every_unit_gets_the_same_target_from_both(route: Route, units: list[str], draw: float) -> None:
    world = everything(RouteTable({"cost": route}))
    for unit in units:
        found = world.natively(Ask(name="cost", unit=unit), draw)
        assert found is not None
        assert found == world.in_python(Ask(name="cost", unit=unit), draw)


@given(tables(["cost"], tried=True), st.lists(units, min_size=20, max_size=40), draws)
@settings(max_examples=60)
def test_both_let_the_same_units_into_an_experiment(table: RouteTable, units: list[str], draw: float) -> None:
    world = everything(table)
    for unit in units:
        found = world.natively(Ask(name="cost", unit=unit), draw)
        assert found is not None
        assert found == world.in_python(Ask(name="cost", unit=unit), draw)


@given(tables(["cost"], tried=True), st.floats(0, 1), st.lists(units, min_size=20, max_size=40))
@settings(max_examples=60)
def test_both_let_in_whom_a_decision_over_the_table_lets_in(table: RouteTable, share: float, units: list[str]) -> None:
    before, plain = everything(table), table.require("cost").route
    assert plain.experiment is not None
    step = Step(at="2026-11-29T12:00:00Z", enrolment=max(share, plain.experiment.enrolment))
    on, experiment = footing(plain, weights=False), plain.experiment.name
    overlay = Overlay(format=1, route="cost", on=on, experiment=experiment, step=step)
    after = everything(lay(table, {"cost": overlay}).table)
    for unit in units:
        was, found = before.natively(Ask(name="cost", unit=unit), 0.0), after.natively(Ask(name="cost", unit=unit), 0.0)
        assert found == after.in_python(Ask(name="cost", unit=unit), 0.0)
        assert was is not None
        assert found is not None
        if was[4] == "SPLIT":
            assert found == was, "who takes part stays in its arm and its epoch"


def test_thousands_of_units_find_every_way_in_and_out_of_an_experiment_alike() -> None:
    targets = (Target("a", "price", 1, 1.0), Target("b", "price", 2, 3.0))
    experiment = Experiment("x", "a", "kept", ((0, 300), (600, 1000)), 0.6)
    world = everything(RouteTable({"cost": Route("s", targets, experiment=experiment)}, layers=LAYERS))
    asks = [Ask(name="cost", unit=f"u{number}") for number in range(500)]
    found = [world.natively(ask, 0.0) for ask in asks]
    assert found == [world.in_python(ask, 0.0) for ask in asks]
    assert {(one[1], one[4]) for one in found if one is not None} == {
        ("a", "HOLDOUT"),
        ("a", "UNENROLLED"),
        ("a", "SPLIT"),
        ("b", "SPLIT"),
    }


@given(st.lists(st.tuples(texts, texts, st.text(st.characters(exclude_categories=["Cs"]), max_size=700)), min_size=20))
@settings(max_examples=50)
def test_both_draw_the_same_number(triples: list[tuple[str, str, str]]) -> None:
    for triple in triples:
        assert engine.uniform(*triple) == uniform(*triple)


def test_both_have_the_same_logarithm_to_the_last_bit() -> None:
    for number in range(20_000):
        unit, weight = f"u{number}", 1.0 + number % 7
        assert engine.score("salt", "target", unit, weight) == -math.log(uniform("salt", "target", unit)) / weight


def test_both_draw_what_has_always_been_drawn() -> None:
    for draw in GOLDEN["draws"]:
        assert engine.uniform(draw["salt"], draw["target"], draw["unit"]).hex() == draw["uniform"]


def test_hundreds_of_units_are_split_alike_over_many_arms() -> None:
    targets = tuple(Target(f"t{n}", "price", 1, 1.0 + n % 3) for n in range(64))
    route = Route("salt", targets)
    world = World(View(RouteTable({"cost": route})), {"price": [1]}, {"price": [1]})
    for number in range(400):
        found = world.natively(Ask(name="cost", unit=f"u{number}"), 0.0)
        assert found is not None
        assert found[1] == pick(route, f"u{number}").name


def test_the_engine_refuses_nobody_whom_python_serves() -> None:
    """Each reason is reached, so that a twin that declines everything is no twin."""
    route = Route(
        "s",
        (Target("a", "price", "champion", 1.0), Target("b", "price", 9, 1.0)),
        "price",
        (Override(When({"x-qa": "on"}), "a"),),
        fallback="a",
    )
    tried = msgspec.structs.replace(route, experiment=Experiment("x", "a", "kept", ((0, 500),)))
    table = RouteTable({"cost": route, "tried": tried}, layers=LAYERS)
    world = World(View(table, {"price": {"champion": 1}}), {"price": [1, 2]}, {"price": [1, 2]})
    asks = [
        *(Ask(name="tried", unit=f"u{number}") for number in range(20)),
        Ask(name="cost", unit="u3"),
        Ask(name="cost", unit="u1"),
        Ask(name="cost", headers={"x-qa": "on"}),
        Ask(name="cost"),
        Ask(name="price"),
        Ask(name="price", version="champion"),
        Ask(name="cost", version="2"),
    ]
    found = [world.natively(ask, 0.1) for ask in asks]
    assert found == [world.in_python(ask, 0.1) for ask in asks]
    assert {one[4] for one in found if one is not None} == {reason.value for reason in Reason}


@pytest.mark.parametrize("wrong", [b"", b"{}", b"[]", b'{"digest": 1, "routes": [], "models": []}', b"\xff"])
def test_a_snapshot_that_cannot_be_read_says_so(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r"line 1 column"):
        engine.decide(wrong, "m", "", "", {}, 0.0)
