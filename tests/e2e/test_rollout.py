"""An experiment starts, grows, pauses, goes on and stops, while a gateway serves; people's table is never touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import turnout
from tests.e2e.conftest import Gateway, StartGateway, environment
from tests.e2e.probes import eventually
from turnout_server.routing.overlay import Overlay, Step, encode, footing
from turnout_server.routing.text import parse

TABLE = """\
layers:
  checkout: {salt: checkout-test}
routes:
  price:
    task: price
    salt: price-test
    targets:
      - {name: control, model: price, version: champion, weight: 50}
      - {name: canary, model: price, version: challenger, weight: 50}
    overrides:
      - {when: {unit: [vip]}, target: canary}
    experiment: {name: sharper, control: control, layer: checkout, buckets: [[0, 900]], enrolment: 0.2}
"""
DEFINITION = """\
name: sharper
route: price
control: control
treatments: [canary]
layer: checkout
enrolment: 0.2
window: 7d
units: 1000
primary: conversion
metrics:
  conversion: {kind: proportion, outcome: purchase}
"""
UNITS = [f"unit-{number}" for number in range(80)]
Answers = dict[str, tuple[str, str]]
"""Target and reason, by unit."""


@pytest.fixture
def gateway(store: Path, start_gateway: StartGateway) -> Gateway:
    """A gateway on a store of its own, with an experiment that has started."""
    (store / "routes.yaml").write_text(TABLE)
    definition = store.parent / "sharper.yaml"
    definition.write_text(DEFINITION)
    turnout_command(store, "start", str(definition))
    return start_gateway(store)


def turnout_command(store: Path, *arguments: str) -> None:
    """Run `turnout experiment ...` as a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "turnout_server", "experiment", *arguments, "--store", str(store)],
        env=environment(PATH=os.environ["PATH"]), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def answers(client: turnout.Client) -> Answers:
    """Return who answers each unit, and why."""
    found = {}
    for unit in UNITS:
        served = client.predict_price("price", {"carat": 1.0}, unit=unit).served
        found[unit] = (served.target, served.reason)
    return found


def taking_part(found: Answers) -> set[str]:
    return {unit for unit, (_, reason) in found.items() if reason == "SPLIT"}


def test_it_grows_pauses_goes_on_and_stops(gateway: Gateway) -> None:
    with turnout.Client(gateway.address) as client:

        def decided(*arguments: str, enrolment: float) -> Answers:
            turnout_command(gateway.store, *arguments)
            eventually(lambda: client.route("price").experiment.enrolment == enrolment)
            return answers(client)

        first = answers(client)
        assert client.route("price").rollout is None
        grown = decided("ramp", "sharper", "--enrolment", "60%", "--why", "it goes well", enrolment=0.6)
        assert 0 < len(taking_part(first)) < len(taking_part(grown)) < len(UNITS)
        assert {unit: grown[unit] for unit in taking_part(first)} == {unit: first[unit] for unit in taking_part(first)}
        assert {target for target, _ in grown.values()} == {"control", "canary"}
        rollout = client.route("price").rollout
        assert rollout is not None
        assert (rollout.enrolment, rollout.table_enrolment, rollout.why) == (0.6, 0.2, "it goes well")

        paused = decided("pause", "sharper", "--why", "errors", enrolment=0.0)
        assert set(paused.values()) == {("control", "UNENROLLED")}
        assert client.predict_price("price", {"carat": 1.0}, unit="vip").served.reason == "OVERRIDE"
        assert client.assign("price", UNITS[0]).served.reason == "UNENROLLED"
        assert client.route("price").rollout.resumes_at == 0.6

        assert decided("resume", "sharper", enrolment=0.6) == grown
        turnout_command(gateway.store, "stop", "sharper", "--why", "enough")
        assert answers(client) == grown, "who is in an arm stays there until people change the table"
        assert (gateway.store / "routes.yaml").read_text() == TABLE
        assert client.routes().problem == ""


def test_weights_that_are_decided_show_and_a_broken_decision_changes_nothing(gateway: Gateway) -> None:
    route = parse(TABLE).require("price").route
    step = Step(at="2026-11-29T12:00:00Z", by="a controller", weights={"control": 0.0, "canary": 1.0})
    overlay = Overlay(format=1, route="price", on=footing(route, weights=True), experiment="sharper", step=step)
    file = gateway.store / "rollouts/price.json"
    file.parent.mkdir()
    with turnout.Client(gateway.address) as client:
        before = answers(client)
        beside = file.with_suffix(".new")
        beside.write_bytes(encode(overlay))
        beside.rename(file)
        eventually(lambda: [one.weight for one in client.route("price").targets] == [0.0, 1.0])
        after = answers(client)
        assert taking_part(after) == taking_part(before)
        assert {after[unit] for unit in taking_part(after)} == {("canary", "SPLIT")}
        beside.write_bytes(b"{")
        beside.rename(file)
        eventually(lambda: "not JSON" in (client.route("price").rollout or turnout.Rollout()).problem)
        assert answers(client) == after
        assert client.routes().problem == ""
        file.unlink()
        eventually(lambda: client.route("price").rollout is None)
        assert answers(client) == before
