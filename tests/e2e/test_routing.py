"""Who answers a request, and why; the same in every process."""

from __future__ import annotations

import collections
import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

import turnout
from tests.e2e.conftest import Gateway
from tests.e2e.probes import connected, events, eventually, metrics, serving, unary
from turnout_server.routing.route import Route
from turnout_server.routing.split import pick
from turnout_server.routing.text import parse
from turnout_server.rpc.stubs import open_inference_pb2 as oip

TABLE = """\
layers:
  checkout: {salt: checkout-test, holdout: 0.2}
routes:
  split:
    task: price
    salt: split-test
    targets:
      - {name: large, model: price, version: champion, weight: 70}
      - {name: small, model: price, version: challenger, weight: 30}
      - {name: none, model: price, version: 2, weight: 0}
    overrides:
      - {when: {header: {x-qa: "on", x-team: rail}}, target: none}
      - {when: {header: {x-qa: "on"}, unit: [both]}, target: none}
      - {when: {unit: [vip, "é漢😀"]}, target: small}
  tried:
    task: price
    salt: tried-test
    targets:
      - {name: large, model: price, version: champion, weight: 50}
      - {name: small, model: price, version: challenger, weight: 50}
    experiment: {name: trial, control: large, layer: checkout, buckets: [[0, 700]], enrolment: 0.6}
  safe:
    task: price
    salt: safe-test
    targets:
      - {name: steady, model: price, version: champion, weight: 0}
      - {name: shaky, model: broken, version: 1, weight: 1}
    fallback: steady
  mirrored:
    task: price
    salt: mirrored-test
    targets:
      - {name: only, model: price, version: champion, weight: 1}
    mirrors:
      - {model: price, version: challenger, fraction: 1}
      - {model: price, version: 1, fraction: 0}
"""
UNITS = [f"user-{number}" for number in range(300)] + ["é漢😀-", "\t", " ", "x" * 1024]


@pytest.fixture(scope="module")
def route() -> Route:
    return parse(TABLE).require("split").route


@pytest.fixture(scope="module")
def routed_store(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny store with TABLE, and a copy of `price` by another name whose only version is broken."""
    store = Path(shutil.copytree(tiny_store, tmp_path_factory.mktemp("routing") / "store"))
    (store / "routes.yaml").write_text(TABLE, encoding="utf-8")
    shaky = Path(shutil.copytree(store / "models/price/1", store / "models/broken/1"))
    manifest = (shaky / "manifest.json").read_text()
    (shaky / "manifest.json").write_text(manifest.replace('"model": "price"', '"model": "broken"'))
    (shaky / "model.onnx").write_bytes(b"garbage")
    return store


@pytest.fixture(scope="module")
def gateways(routed_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Gateway]]:
    """Two processes over one store."""
    logs = tmp_path_factory.mktemp("logs")
    with serving(routed_store, logs / "1.log") as first, serving(routed_store, logs / "2.log") as second:
        yield first, second


@pytest.fixture
def client(gateways: tuple[Gateway, Gateway]) -> Iterator[turnout.Client]:
    with turnout.Client(gateways[0].address, retries=0) as client:
        yield client


def served(client: turnout.Client, route: str, unit: str = "", **named: Any) -> turnout.Served:
    return client.predict_price(route, {"carat": 1.0}, unit=unit, **named).served


# ---------------------------------------------------------------- splits


def test_a_unit_gets_what_the_arithmetic_says_in_every_process(gateways: tuple[Gateway, Gateway], route: Route) -> None:
    expected = [pick(route, unit).name for unit in UNITS]
    for gateway in gateways:
        with turnout.Client(gateway.address) as client:
            found = [served(client, "split", unit) for unit in UNITS]
        assert [one.target for one in found] == expected
        assert {one.reason for one in found} == {"SPLIT"}
        assert {(one.target, one.version) for one in found} == {("large", 1), ("small", 2)}


def test_a_unit_may_come_as_a_parameter_or_as_metadata(gateways: tuple[Gateway, Gateway], route: Route) -> None:
    with connected(gateways[0].address) as channel:
        for unit in UNITS[:20]:
            for given in ({"parameter": unit}, {"metadata": unit}):
                assert open_inference_target(channel, **given) == pick(route, unit).name


def open_inference_target(channel: grpc.Channel, parameter: str = "", metadata: str = "") -> str:
    carat = oip.ModelInferRequest.InferInputTensor(name="carat", datatype="FP32", shape=[1, 1])
    carat.contents.fp32_contents.append(1.0)
    cut = oip.ModelInferRequest.InferInputTensor(name="cut", datatype="BYTES", shape=[1, 1])
    cut.contents.bytes_contents.append(b"Fair")
    request = oip.ModelInferRequest(model_name="split", inputs=[carat, cut])
    if parameter:
        request.parameters["unit_id"].string_param = parameter
    method = unary(channel, "inference.GRPCInferenceService/ModelInfer")
    headers = [("x-turnout-unit", metadata)] if metadata else []
    answer = oip.ModelInferResponse.FromString(method(request.SerializeToString(), metadata=headers, timeout=30))
    assert answer.parameters["turnout_reason"].string_param == "SPLIT"
    return answer.parameters["turnout_target"].string_param


def test_a_request_without_a_unit_is_unsticky_and_reaches_every_arm(client: turnout.Client) -> None:
    # 200 draws at 70:30 all miss the small arm once in 10^31 runs.
    found = [served(client, "split") for _ in range(200)]
    assert {one.reason for one in found} == {"UNSTICKY"}
    assert {one.target for one in found} == {"large", "small"}


# ---------------------------------------------------------------- experiments


def test_who_takes_part_in_an_experiment_is_what_the_arithmetic_says_in_every_process(
    gateways: tuple[Gateway, Gateway],
) -> None:
    compiled = parse(TABLE).require("tried")
    expected = [(place.target.name, place.reason.name) for place in map(compiled.place, UNITS)]
    assert {reason for _, reason in expected} == {"HOLDOUT", "UNENROLLED", "SPLIT"}
    for gateway in gateways:
        with turnout.Client(gateway.address) as client:
            found = [served(client, "tried", unit) for unit in UNITS]
        assert [(one.target, one.reason) for one in found] == expected
        assert {(one.reason, one.propensity) for one in found} == {
            ("HOLDOUT", None),
            ("UNENROLLED", None),
            ("SPLIT", 0.5),
        }


def test_who_leaves_the_unit_out_gets_an_experiments_control(client: turnout.Client) -> None:
    # 60 draws at 50:50 all miss an arm once in 10^18 runs.
    found = {(one.target, one.reason, one.propensity) for one in (served(client, "tried") for _ in range(60))}
    assert found == {("large", "UNSTICKY", None)}


def test_a_unit_is_told_what_it_drew(client: turnout.Client) -> None:
    compiled = parse(TABLE).require("tried")
    for unit in UNITS[:20]:
        assignment = client.assign("tried", unit)
        assert assignment.served.reason == compiled.place(unit).reason.name
        assert dataclasses.astuple(assignment.draws) == compiled.draws(unit)
        assert assignment.scores == compiled.scores(unit)
    assert client.route("tried").experiment == turnout.Experiment(
        "trial", "large", turnout.Layer("checkout", "checkout-test", 0.2), ((0, 700),), 0.6
    )


# ---------------------------------------------------------------- overrides and pins


@pytest.mark.parametrize(
    ("unit", "metadata", "target"),
    [
        ("anyone", {"x-qa": "on", "x-team": "rail"}, "none"),
        ("both", {"x-qa": "on"}, "none"),
        ("vip", {}, "small"),
        ("é漢😀", {}, "small"),
        ("vip", {"x-qa": "on", "x-team": "rail"}, "none"),
    ],
)
def test_the_first_override_that_matches_wins(
    client: turnout.Client, unit: str, metadata: Mapping[str, str], target: str
) -> None:
    found = served(client, "split", unit, metadata=metadata)
    assert (found.target, found.reason) == (target, "OVERRIDE")


@pytest.mark.parametrize(
    ("unit", "metadata"),
    [("anyone", {"x-qa": "on"}), ("both", {}), ("both", {"x-qa": "off"}), ("vip ", {}), ("anyone", {"x-team": "rail"})],
)
def test_an_override_needs_all_of_its_conditions(
    client: turnout.Client, route: Route, unit: str, metadata: Mapping[str, str]
) -> None:
    found = served(client, "split", unit, metadata=metadata)
    assert (found.target, found.reason) == (pick(route, unit).name, "SPLIT")


@pytest.mark.parametrize(("version", "answers"), [(1, 1), (2, 2), ("champion", 1), ("challenger", 2)])
@pytest.mark.parametrize("name", ["price", "split"])
def test_a_version_or_a_label_pins(client: turnout.Client, name: str, version: int | str, answers: int) -> None:
    found = served(client, name, "vip", version=version, metadata={"x-qa": "on", "x-team": "rail"})
    assert found == turnout.Served("", "", "price", answers, "PINNED")


def test_a_bare_model_is_its_champion(client: turnout.Client) -> None:
    assert served(client, "price") == turnout.Served("", "", "price", 1, "NAMED")


# ---------------------------------------------------------------- fallback


def test_the_fallback_answers_for_a_version_that_is_not_available(client: turnout.Client) -> None:
    assert served(client, "safe", "anyone") == turnout.Served(
        "safe", "steady", "price", 1, "FALLBACK", "shaky", "", 1.0
    )
    assert client.assign("safe", "anyone").served.reason == "FALLBACK"


def test_a_pin_has_no_fallback(client: turnout.Client) -> None:
    with pytest.raises(turnout.UnavailableError) as caught:
        served(client, "broken", version=1)
    assert caught.value.reason == "VERSION_UNAVAILABLE"


def test_a_broken_version_is_told_of(client: turnout.Client, gateways: tuple[Gateway, Gateway]) -> None:
    (version,) = client.model("broken").versions
    assert version.state == "FAILED"
    assert "model.onnx" in version.state_detail
    # Once at least: a version that failed is tried again later.
    told = events(gateways[0], "version cannot be served")
    assert {(event["level"], event["model"], event["version"]) for event in told} == {("error", "broken", 1)}
    assert [one["model"] for one in gateways[0].started["failed"]] == ["broken"]


# ---------------------------------------------------------------- mirrors


def test_mirrors_answer_nobody_and_are_counted(client: turnout.Client, gateways: tuple[Gateway, Gateway]) -> None:
    prices = [client.predict_price("mirrored", {"carat": 1, "cut": "Fair"}, unit=str(number)) for number in range(40)]
    assert {(price.price, price.served.target, price.served.version) for price in prices} == {(1000, "only", 1)}
    # Copies are dropped while their version is busy: what counts is that each request is accounted for, once.
    eventually(lambda: sum(mirrored(gateways[0], "challenger").values()) == 40)
    outcomes = mirrored(gateways[0], "challenger")
    assert outcomes["sent"] > 0
    assert outcomes["failed"] == 0
    assert not mirrored(gateways[0], "1")  # its fraction is 0


def mirrored(gateway: Gateway, version: str) -> collections.Counter[str]:
    found: collections.Counter[str] = collections.Counter()
    for labels, count in metrics(gateway, "turnout_mirrors_total").items():
        named = dict(labels)
        if (named["route"], named["model"], named["version"]) == ("mirrored", "price", version):
            found[named["outcome"]] += int(count)
    return found
