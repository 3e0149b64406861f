"""A store of models of every kind and a route table over them, made up from a seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import onnx
import yaml

from tests.differential import graphs as own
from tests.e2e import graphs, tiny_store
from turnout_server.routing.overlay import Overlay, Step, encode, footing
from turnout_server.routing.route import MOST_WEIGHT
from turnout_server.routing.text import parse
from turnout_server.store.manifest import Batching
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

WHO = "who"
"""The model whose versions say who they are: 2 is `champion`, 3 `challenger`, 4 `broken`, which does not load, 5 the
newest; 1 is in the store and not loaded, and the label `missing` names a version that is not there."""
VERSIONS: tuple[int | str, ...] = (2, 3, 5, "champion", "challenger")
BAD_VERSIONS: tuple[int | str, ...] = (4, "broken")
UNREADABLE = ((WHO, 4), ("ghost", 1), ("recommendation", 3))
"""Versions whose files are not what their manifests say."""
WEIGHTS = (0, 0, 1e-9, 0.5, 1, 10, 50, 1e9)
UNITS = ("", "vip", "u-1", "u-2", "0", "-7", "42", "true", "ü", "漢字", "😀" * 3, "a b", "x" * 1024, "x" * 1025)
"""Units of some interest; some of the routes' overrides name some."""
HEADERS = {"x-qa": ("on", "off", ""), "x-team": ("blue", "red"), "x.y_z-1": ("1",)}
"""Metadata that the routes' overrides look at, and values."""
RANDOM_ROUTES = 8
LAYERS = {"even": {"salt": "layer-1"}, "kept": {"salt": "ü-layer", "holdout": 0.3}}
"""What experiments share units by; each route's has a part of one of its own."""


class World(NamedTuple):
    """What a gateway serves."""

    store: Path
    models: Mapping[str, Signature]
    """By name, what each takes; each has a version 1."""
    routes: Mapping[str, Any]
    """The table, by route, with what was decided about them since."""

    def signature(self, name: str) -> Signature:
        """Return what the model takes that *name* is, or that the first target of the route *name* is of."""
        route = self.routes.get(name)
        model = route["targets"][0]["model"] if route else name
        return self.models.get(model, self.models[WHO])


def make_world(root: Path, seed: str) -> World:
    """Make it below *root*."""
    random = Random(seed)
    store, drafts = root / "store", root / "graphs"
    drafts.mkdir(parents=True)
    models: dict[str, Signature] = {}
    for name, task, signature, versions in _models(random):
        models[name] = signature
        for number, graph in enumerate(versions, 1):
            file = drafts / f"{name}-{number}.onnx"
            onnx.save(graph, file)
            # Put together, rows may round differently than by themselves, and who shares a batch is chance.
            tiny_store.publish_graph(store, name, task, signature, file, batching=Batching(max_rows=1))
    for name, number in UNREADABLE:
        (store / "models" / name / str(number) / "model.onnx").write_bytes(b"not a graph")
    labels = {"champion": 2, "challenger": 3, "broken": 4, "missing": 99}
    (store / "models" / WHO / "labels.json").write_text(json.dumps(labels))
    (store / "models/ghost/labels.json").write_text('{"champion": 1}')  # which cannot answer to the bare name either
    for name in ("price", "ranking", "recommendation"):
        (store / "models" / name / "labels.json").write_text('{"champion": 1, "challenger": 2}')
    routes = json.loads(json.dumps(_routes(random)))  # or what stands in it twice would be written as an alias
    text = yaml.safe_dump({"layers": LAYERS, "routes": routes}, allow_unicode=True)
    (store / "routes.yaml").write_text(text)
    _decide(store, text, routes)
    return World(store, models, routes)


# ---------------------------------------------------------------- models


def _models(random: Random) -> list[tuple[str, Task, Signature, list[onnx.ModelProto]]]:
    fixed = [
        ("a", "INT32", (-1, random.randint(1, 3))),
        ("b", "FP32", (-1, 2, random.randint(1, 3))),
        ("c", "BYTES", (-1, 1)),
    ]
    still = [("x", "FP64", (2, random.randint(1, 3))), ("flag", "BOOL", (1,))]
    free = [("half", "FP16", (-1, -1, -1)), ("big", "UINT64", (-1,))]
    scalar = [("x", "FP32", ()), ("n", "INT8", ()), ("text", "BYTES", ())]
    total = Signature((_spec("x", "FP32", (-1,)),), (_spec("total", "FP32", ()),), batched=False)
    picky = Signature((_spec("index", "INT64", (-1,)),), (_spec("picked", "FP32", (-1,)),), batched=False)
    who = Signature(
        (_spec("x", "FP32", (-1, 2)),), (_spec("y", "FP32", (-1, 2)), _spec("version", "INT64", (1,))), batched=False
    )
    price = [graphs.price(1000.0), graphs.price(1100.0)]
    ranking = [graphs.ranking([-1, 1, 0]), graphs.ranking([-1, 2, 0.5])]
    wished = msgspec.structs.replace(tiny_store.RECOMMENDATION, max_elements=6)
    recommendation = [graphs.recommendation(0.0), graphs.recommendation(100.0), graphs.recommendation(1.0)]
    return [
        *((f"echo-{d.lower()}", Task.TENSORS, tiny_store._echo([d]), [graphs.echo([d])]) for d in graphs.DTYPES),
        ("echo", Task.TENSORS, tiny_store._echo(tiny_store.ALL_AT_ONCE), [graphs.echo(tiny_store.ALL_AT_ONCE)]),
        ("fixed", Task.TENSORS, msgspec.structs.replace(_same(fixed, batched=True), max_rows=2), [own.identity(fixed)]),
        ("still", Task.TENSORS, _same(still, batched=False), [own.identity(still)]),
        (
            "free",
            Task.TENSORS,
            msgspec.structs.replace(_same(free, batched=False), max_elements=12),
            [own.identity(free)],
        ),
        ("scalar", Task.TENSORS, _same(scalar, batched=False), [own.identity(scalar)]),
        ("total", Task.TENSORS, total, [own.total()]),
        ("picky", Task.TENSORS, picky, [own.picky()]),
        (WHO, Task.TENSORS, who, [own.who(version) for version in range(1, 6)]),
        ("ghost", Task.TENSORS, total, [own.total()]),
        ("unlabelled", Task.TENSORS, who, [own.who(version) for version in (1, 2)]),
        ("price", Task.PRICE, tiny_store.PRICE, price),
        ("ranking", Task.RANKING, msgspec.structs.replace(tiny_store.RANKING, max_rows=4), ranking),
        ("recommendation", Task.RECOMMENDATION, wished, recommendation),
    ]


def _same(tensors: Sequence[tuple[str, str, tuple[int, ...]]], *, batched: bool) -> Signature:
    inputs = tuple(_spec(*tensor) for tensor in tensors)
    return Signature(inputs, tuple(_spec(f"same_{name}", *rest) for name, *rest in tensors), batched)


def _spec(name: str, dtype: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name, DType(dtype), shape)


# ---------------------------------------------------------------- routes


def _routes(random: Random) -> dict[str, Any]:
    routes = {f"any-{number}": _any_route(random, number) for number in range(RANDOM_ROUTES)}
    one = _target("only", "champion", 1)
    return routes | {
        "lone": _route([one]),
        "dead": _route([_target("bad", 4, 1), _target("worse", "broken", 1)], fallback="worse"),
        "ghost": _route([_target("nobody", 1, 1, model="ghost"), _target("here", 5, 1)], fallback="here"),
        "mixed": _route([one, _target("echo", 1, 1, model="echo-fp32")]),
        "mirrored": _route(
            [_target("two", 2, 50), _target("three", 3, 50)],
            mirrors=[
                {"model": WHO, "version": version, "fraction": fraction}
                for version, fraction in ((5, 1.0), ("challenger", 1.0), (4, 1.0), (2, 0.0))
            ]
            + [{"model": "echo-fp32", "version": 1, "fraction": 1.0}],
        ),
        "tried": _route(
            [_target("control", "champion", 50), _target("canary", 3, 30), _target("bad", "broken", 20)],
            overrides=[{"when": {"header": {"x-qa": "on"}}, "target": "canary"}],
            fallback="canary",
            experiment={
                "name": "trial",
                "control": "control",
                "layer": "kept",
                "buckets": [[0, 300], [400, 800]],
                "enrolment": 0.7,
            },
        ),
        "price": _typed("price", overrides=True),
        "ranking": _typed("ranking"),
        "recommendation": _typed("recommendation", bad=True),
    }


def _decide(store: Path, text: str, routes: Mapping[str, Any]) -> None:
    """Decide about every other route of a table's *text* since: of an experiment who takes part, else weights.

    *routes* become what they are with that.
    """
    (store / "rollouts").mkdir()
    for compiled in list(parse(text))[::2]:
        route = compiled.route
        experiment = route.experiment
        weights = {one.name: min(one.weight + place, MOST_WEIGHT) for place, one in enumerate(route.targets)}
        what: dict[str, Any] = {"weights": weights} if experiment is None else {"enrolment": 0.95}
        overlay = Overlay(
            format=1,
            route=compiled.name,
            on=footing(route, weights=experiment is None),
            experiment=None if experiment is None else experiment.name,
            step=Step(at="2026-11-29T12:00:00Z", by="nobody", how="the generator", **what),
        )
        (store / "rollouts" / f"{compiled.name}.json").write_bytes(encode(overlay))
        shown = routes[compiled.name]
        if experiment is not None:
            shown["experiment"]["enrolment"] = 0.95
        else:
            for target in shown["targets"]:
                target["weight"] = weights[target["name"]]


def _any_route(random: Random, number: int) -> dict[str, Any]:
    targets = []
    for place in range(random.randint(1, 5)):
        version = random.choice(BAD_VERSIONS if random.random() < 0.25 else VERSIONS)
        targets.append(_target(f"t{place}", version, random.choice(WEIGHTS)))
    if not any(target["weight"] for target in targets):
        targets[-1]["weight"] = 1
    names = [target["name"] for target in targets]
    overrides = []
    for _ in range(random.choice((0, 1, 3))):
        header = {key: random.choice(HEADERS[key]) for key in random.sample(list(HEADERS), random.choice((0, 1, 1, 2)))}
        units = random.sample(UNITS[:-1], random.randint(1, 3)) if not header or random.random() < 0.3 else []
        overrides.append({"when": {"header": header, "unit": units}, "target": random.choice(names)})
    return _route(
        targets,
        salt=random.choice(("s", "ü-salt", "x" * 256, f"{random.random()}")),
        overrides=overrides,
        fallback=random.choice((None, *names)),
        **({"experiment": _experiment(random, names, number)} if random.random() < 0.5 else {}),
    )


def _experiment(random: Random, names: Sequence[str], number: int) -> dict[str, Any]:
    layer = random.choice((None, "even", "even", "kept"))
    # Of `kept` another route has those up to 800.
    span = [number * 125, number * 125 + 125] if layer == "even" else [800 + number * 25, 825 + number * 25]
    return {
        "name": f"trial-{number}",
        "control": random.choice(names),
        "enrolment": random.choice((0, 0.3, 0.9, 1)),
    } | ({"layer": layer, "buckets": [span]} if layer else {})


def _typed(task: str, *, overrides: bool = False, bad: bool = False) -> dict[str, Any]:
    targets = [_target("control", "champion", 60, model=task), _target("canary", 2, 40, model=task)]
    if bad:
        targets.append(_target("bad", 3, 30, model=task))
    special = [
        {"when": {"header": {"x-qa": "on"}}, "target": "canary"},
        {"when": {"unit": ["vip", "u-1"]}, "target": "control"},
    ]
    return _route(targets, task=task, overrides=special if overrides else [], fallback="control" if bad else None)


def _route(targets: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"task": "tensors", "salt": "salt", "targets": targets} | more


def _target(name: str, version: int | str, weight: float, *, model: str = WHO) -> dict[str, Any]:
    return {"name": name, "model": model, "version": version, "weight": weight}
