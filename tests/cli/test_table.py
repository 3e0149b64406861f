"""Route tables as rows, and read with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

import turnout
from turnout_server.cli import table
from turnout_server.cli.exits import CommandError
from turnout_server.routing.changes import listed
from turnout_server.routing.laying import Rollout, lay
from turnout_server.routing.overlay import Overlay, Step, footing
from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore

BEFORE = """
routes:
  r:
    task: price
    salt: s
    targets: [{name: a, model: m, version: champion, weight: 3}, {name: b, model: m, version: 2, weight: 1}]
"""


def test_units_beyond_three_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rule = "salt: s\n    overrides: [{when: {header: {x: y}, unit: [u, v, w, x, z]}, target: a}]"
    table.show(listed(parse(BEFORE.replace("salt: s", rule))))
    assert "r: override x=y and unit u, v, w and 2 more -> a" in capsys.readouterr().out


TRIED = """
layers: {l: {salt: l, holdout: 0.1}}
routes:
  r:
    salt: s
    targets: [{name: a, model: m, version: 1, weight: 3}, {name: b, model: m, version: 2, weight: 1}]
    experiment: {name: x, control: a, layer: l, buckets: [[0, 300], [400, 401]], enrolment: 0.2}
  q:
    salt: t
    targets: [{name: a, model: m, version: 1, weight: 3}]
    experiment: {name: y, control: a}
"""


def test_an_experiment_is_shown_below_its_route(capsys: pytest.CaptureFixture[str]) -> None:
    table.show(listed(parse(TRIED)))
    shown = capsys.readouterr().out
    assert "r: experiment x: buckets 0-299, 400 of layer l, holdout 10 %, enrolment 20 %, others get a\n" in shown
    assert "q: experiment y: enrolment 100 %, others get a\n" in shown


def test_what_a_gateway_serves_is_listed_as_its_table_is() -> None:
    """Or `apply --target` would tell changes that are none."""
    arms = [turnout.Target(name, "m", str(number), weight) for name, number, weight in (("a", 1, 3.0), ("b", 2, 1.0))]
    first = turnout.Experiment("x", "a", turnout.Layer("l", "l", 0.1), ((0, 300), (400, 401)), 0.2)
    routes = (
        turnout.Route("q", "tensors", "t", tuple(arms[:1]), experiment=turnout.Experiment("y", "a")),
        turnout.Route("r", "tensors", "s", tuple(arms), experiment=first),
    )
    assert table.from_gateway(turnout.RouteTable(routes, "d")) == listed(parse(TRIED))


def test_what_is_wrong_is_said_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"new\.yaml: \$\.routes"):
        table.read("new.yaml", "routes: 3", None)
    (tmp_path / "models").mkdir()
    with pytest.raises(CommandError, match="the store has no model 'm'"):
        table.read("new.yaml", BEFORE, DirectoryStore(tmp_path))
    assert table.read("new.yaml", BEFORE, None).get("r")


def test_what_was_decided_since_is_no_change_of_the_table_that_is_applied() -> None:
    before = parse(TRIED)
    overlays = {}
    for name, experiment in (("r", "x"), ("q", "y")):
        on = footing(before.require(name).route, weights=False)
        step = Step(at="2026-11-29T12:00:00Z", by="ada", enrolment=0.0, resumes_at=0.5)
        overlays[name] = Overlay(format=1, route=name, on=on, experiment=experiment, control="a", step=step)
    laid = listed(lay(before, overlays).table)
    assert laid != listed(before)
    assert table.plain(laid) == listed(before)


def test_a_rollout_is_shown_with_what_the_table_says_and_why_it_is_not_in_force() -> None:
    decided = Rollout(
        enrolment=0.2, table_enrolment=0.1, weights={"b": 3.0}, at="2026-11-29T12:00:00Z", by="ada", why="fine"
    )
    assert list(table.rollout(decided)) == [
        "rollout: enrolment 20 %, the route table has 10 %, b weighs 3; decided 2026-11-29 12:00 UTC by ada: fine"
    ]
    assert list(table.rollout(Rollout(problem="broken"))) == ["rollout: not in force: broken"]
