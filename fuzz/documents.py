"""Targets in Python: manifests, labels, route tables, rollouts and configurations, as bytes that a disk may hold.

A target takes any bytes. They are a document, which then comes back from being written and can be given to the engine;
or they are refused by the one error that is documented. Whatever else is raised is a fault. Nothing here needs a
fuzzer: the tests try the corpus with it.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from fuzz.source import Source, Target, edited
from turnout_server import config
from turnout_server.engine import snapshot
from turnout_server.routing import decide as routing
from turnout_server.routing import overlay
from turnout_server.routing import text as routes_text
from turnout_server.routing.laying import lay
from turnout_server.routing.route import Experiment, Route
from turnout_server.routing.route import Target as Arm
from turnout_server.routing.stored import StoredNames
from turnout_server.routing.table import RouteTable, convert
from turnout_server.routing.view import View
from turnout_server.store import labels as labels_json
from turnout_server.store import manifest as manifest_json
from turnout_server.vocabulary.ask import Ask
from turnout_server.vocabulary.errors import (
    ConfigurationError,
    InvalidManifestError,
    InvalidRouteTableError,
    StoreError,
    TurnoutError,
)
from turnout_server.vocabulary.signature import DType

_LARGEST = (1 << 63) - 1
_NAMES = ("price", "control", "canary", "a", "a-b", "0", "champion", "Price", "", "x" * 64)
_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 1.5, 1e308, 10**18, _LARGEST, _LARGEST + 1, 10**400, "", "1", "champion", "\ud800", [], {},
    [1], {"a": 1}, "é" * 300,
)  # fmt: skip


_ARMS = (Arm("control", "price", "champion", 50.0), Arm("canary", "price", 2, 50.0))
_BARE = RouteTable({"price": Route("s", _ARMS)})
_TRIED = RouteTable({"price": Route("s", _ARMS, experiment=Experiment("x", "control", enrolment=0.1))})


def manifest(data: bytes) -> None:
    """Read a manifest."""
    try:
        read = manifest_json.decode(data)
    except InvalidManifestError:
        return
    written = manifest_json.encode(read)
    assert manifest_json.decode(written) == read, "it came back as another"
    assert manifest_json.encode(manifest_json.decode(written)) == written, "it is not written the same every time"
    assert 1 <= read.version <= _LARGEST
    for entry in read.files:
        assert not {"", ".."} & set(entry.path.split("/")), "it leaves its directory"
    _for_the_engine(snapshot.signature(read.signature))


def labels(data: bytes) -> None:
    """Read labels, and tell the engine of them."""
    try:
        read = labels_json.decode_labels(data, "price")
    except StoreError:
        return
    assert labels_json.decode_labels(labels_json.encode_labels(read), "price") == read, "they came back as others"
    assert all(1 <= version <= _LARGEST for version in read.values())
    _for_the_engine(snapshot.names(View(labels={"price": read}), ["price"], {"price": [1]}))


def routes(data: bytes) -> None:
    """Read a route table, decide by it, and tell the engine of it."""
    try:
        text = data.decode()
        read = routes_text.parse(text)
    except (UnicodeDecodeError, InvalidRouteTableError):
        return
    document = {
        "layers": msgspec.to_builtins(read.layers),
        "routes": {one.name: msgspec.to_builtins(one.route) for one in read},
    }
    again = convert(document, read.digest)
    assert again.layers == read.layers, "layers came back as others"
    assert [(one.name, one.route) for one in again] == [(one.name, one.route) for one in read], (
        "it came back as another"
    )
    _decide_by(read)
    table_labels = {"price": {"champion": 1}}
    _for_the_engine(snapshot.names(View(read, table_labels), ["price"], {"price": [1, 2]}))


def rollout(data: bytes) -> None:
    """Read what has been decided about a route, lay it over tables that fit and that don't, and decide by them."""
    try:
        read = overlay.parse(data, "price")
    except InvalidRouteTableError:
        return
    written = overlay.encode(read)
    assert overlay.parse(written, "price") == read, "it came back as another"
    for table in (_TRIED, _BARE, RouteTable({})):
        route = table.get("price")
        fitting = read if route is None else msgspec.structs.replace(
            read, on=overlay.footing(route.route, weights=bool(read.step.weights))
        )  # fmt: skip
        for one in (read, fitting):
            laid, left_out = lay(table, {"price": one})
            assert ("price" in laid.overlays) is not bool(left_out), "it is laid over the table, or it is said why not"
            _decide_by(laid)
            _for_the_engine(snapshot.names(View(laid, {"price": {"champion": 1}}), ["price"], {"price": [1, 2]}))


def configuration(data: bytes) -> None:
    """Read a configuration file."""
    with tempfile.NamedTemporaryFile(dir=_memory(), suffix=".yaml") as file:
        file.write(data)
        file.flush()
        try:
            read = config.load(Path(file.name))
        except ConfigurationError:
            return
    assert msgspec.convert(msgspec.to_builtins(read), config.Config) == read, "it came back as another"


def _memory() -> str | None:
    """Return a folder that is no disk, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _decide_by(table: RouteTable) -> None:
    """Ask each route in every way: somebody of its own answers, the same one for the same unit."""
    names = StoredNames(table, {"price": [1, 2]}, {"price": {"champion": 1}})
    for one in table:
        targets = {target.name for target in one.route.targets if target.weight > 0}
        overridden = {override.target for override in one.route.overrides}
        control = {one.control.name} if one.control is not None else set()
        for unit, draw in (("", 0.0), ("", 0.999999), ("u", 0.0), ("é", 0.5)):
            first, second = (routing.decide(names, Ask(name=one.name, unit=unit), draw) for _ in range(2))
            assert first == second, "the same request was decided in two ways"
            assert first.assigned in targets | overridden | control, "the target that was drawn has no weight"
        assert abs(sum(one.propensities.values()) - 1) < 1e-6, "the shares do not add up"
        try:
            routing.decide(names, Ask(name=one.name, version="champion"), 0.0)
        except TurnoutError:
            continue


def _for_the_engine(written: bytes) -> None:
    """Check that the engine can read what it is told: JSON, whose whole numbers have 64 bits."""

    def whole(text: str) -> int:
        number = int(text)
        assert -_LARGEST - 1 <= number <= _LARGEST, "the engine cannot read such a number"
        return number

    written.decode()
    json.loads(written, parse_int=whole)


def manifest_made(data: bytes) -> None:
    """Make a manifest, most of it right; then damage it."""
    source = Source(data)
    tensor = lambda: {  # noqa: E731
        "name": source.choose(("carat", "cut", "x", "")),
        "dtype": source.choose([dtype.value for dtype in DType]),
        "shape": [source.choose((-1, -1, 1, 2, 0)) for _ in range(source.number(4))],
    }
    inputs = [tensor() for _ in range(source.number(4))]
    for one in inputs:
        if source.one_in(3):
            one["default"] = source.choose((0, 1, 0.5, "a", True, 1 << 70, 1e300, -1))
        if source.one_in(4):
            one["columns"] = [
                {"name": source.choose(_NAMES), "default": source.choose((None, 1.0, 1e300))}
                for _ in range(source.number(4))
            ]
            one["shape"] = [-1, len(one["columns"])]
    document: dict[str, Any] = {
        "schema_version": 1,
        "model": source.choose(_NAMES),
        "version": 1 + source.number(200),
        "task": source.choose(("price", "ranking", "recommendation", "tensors")),
        "created_at": source.text(),
        "files": [
            {
                "path": source.choose(("model.onnx", "a/b", "a", "b/../c", "manifest.json")),
                "sha256": "0" * 64,
                "size": 1,
            }
            for _ in range(source.number(3))
        ],
        "signature": {"inputs": inputs, "outputs": [tensor() for _ in range(source.number(3))]},
    }
    for key, value in (
        ("lineage", {"framework": source.text(), "metrics": {source.text(): 0.5}}),
        ("runtime", {"intra_op_threads": 2, "run_timeout_s": 3}),
        ("batching", {"max_rows": source.choose((1, 64, 0))}),
        ("owner", source.text()),
    ):
        if source.one_in(3):
            document[key] = value
    damaged(source, document, json.dumps, manifest)


def labels_made(data: bytes) -> None:
    """Make labels likewise."""
    source = Source(data)
    chosen = {source.choose(_NAMES) or source.text(): 1 + source.number(300) for _ in range(source.number(6))}
    damaged(source, chosen, json.dumps, labels)


def routes_made(data: bytes) -> None:
    """Make a route table likewise."""
    source = Source(data)
    document: dict[str, Any] = {"routes": {}}
    if source.one_in(2):
        document["layers"] = {"l": {"salt": source.text() or "l", "holdout": source.choose((0, 0.1, 0.5, 0.6))}}
    for _ in range(source.number(4)):
        names = [f"t{number}" for number in range(1 + source.number(4))]
        route: dict[str, Any] = {
            "task": source.choose(("price", "tensors", "ranking")),
            "salt": source.text() or "s",
            "targets": [
                {
                    "name": name,
                    "model": source.choose(("price", "price", "rank")),
                    "version": source.choose((1, 2, "champion", "gone", 99)),
                    "weight": source.choose((1, 0, 50, 0.1, 1e9, 1e-300)),
                }
                for name in names
            ],
        }
        if source.one_in(2):
            when = source.choose(({"unit": ["u", "vip"]}, {"header": {"x-qa": "on"}}, {"unit": [source.text()]}, {}))
            route["overrides"] = [{"when": when, "target": source.choose(names)}]
        if source.one_in(2):
            route["fallback"] = source.choose(names)
        if source.one_in(3):
            route["mirrors"] = [{"model": "price", "version": 2, "fraction": source.choose((1, 0.5, 2))}]
        if source.one_in(3):
            route["experiment"] = {
                "name": source.choose(("x", "y", "X")),
                "control": source.choose(names),
                "enrolment": source.choose((1, 0, 0.3, 2)),
            }
            if source.one_in(2):
                first = source.number(1000)
                route["experiment"] |= {"layer": "l", "buckets": [[first, first + source.number(300)]]}
        document["routes"][source.choose(("cost", "price", "a-b", "Cost"))] = route
    dumped = source.choose((json.dumps, yaml.safe_dump, lambda one: yaml.safe_dump(one, allow_unicode=True)))
    damaged(source, document, dumped, routes)


def rollout_made(data: bytes) -> None:
    """Make what was decided about a route likewise."""
    source = Source(data)

    def step() -> dict[str, Any]:
        made: dict[str, Any] = {"at": "2026-11-29T12:00:00Z", "by": source.text()[:300]}
        if source.one_in(2):
            made |= source.choose(({"enrolment": 0.4}, {"enrolment": 0, "resumes_at": 0.4}, {"enrolment": 1}))
        if source.one_in(2):
            made["weights"] = {source.choose(("control", "canary", "gone")): source.choose((0, 1, 0.1, 1e9, 1e-300))}
        return made

    document = {"format": 1, "route": "price", "on": "0123456789abcdef", "step": step()}
    if source.one_in(2):
        document |= {"experiment": source.choose(("x", "y")), "control": source.choose(("control", "gone"))}
    if source.one_in(2):
        document["earlier"] = [step() for _ in range(source.number(3))]
    damaged(source, document, json.dumps, rollout)


def configuration_made(data: bytes) -> None:
    """Make a configuration likewise."""
    source = Source(data)
    usual = msgspec.to_builtins(config.Config())
    document: dict[str, Any] = {}
    for _ in range(source.number(5)):
        section = source.choose(sorted(usual))
        if isinstance(usual[section], dict) and usual[section]:
            key = source.choose(sorted(usual[section]))
            document.setdefault(section, {})[key] = usual[section][key]
        else:
            document[section] = usual[section]
    damaged(source, document, yaml.safe_dump, configuration)


def damaged(source: Source, document: Any, dumped: Callable[[Any], str], target: Target) -> None:
    """Try a document with up to two of its values replaced, and then its text with bytes changed."""
    for _ in range(source.number(3)):
        place, key = source.choose(list(_places(document)) or [({}, "")])
        place[key] = copy.deepcopy(source.choose(_ODD))
    try:
        written = dumped(document).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, UnicodeEncodeError):
        return
    target(written)
    target(edited(source, written))


def _places(document: Any) -> Any:
    """Yield every place of a document: what it is in, and its key there."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(inner):
        yield document, key
        if isinstance(value, dict | list):
            yield from _places(value)


TARGETS: Mapping[str, Target] = {
    "manifest": manifest,
    "manifest-made": manifest_made,
    "labels": labels,
    "labels-made": labels_made,
    "routes": routes,
    "routes-made": routes_made,
    "rollout": rollout,
    "rollout-made": rollout_made,
    "config": configuration,
    "config-made": configuration_made,
}
"""Each by its name."""
