"""`turnout bench` against a real gateway: calls are counted, never timed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.conftest import Gateway, StartGateway, environment
from turnout_server.cli.application import run

SHORT = ("--duration", "0.3", "--warmup", "0.1")


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Bench = Callable[..., Ran]


@pytest.fixture
def bench(gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Run `turnout bench` in this process, with the shared gateway as its target."""
    monkeypatch.setenv("TURNOUT_TARGET", gateway.address)

    def ran(*arguments: object) -> Ran:
        code = run(["bench", *map(str, arguments)])
        return Ran(code, *capsys.readouterr())

    return ran


@pytest.mark.parametrize("how", [("--concurrency", "4", "--connections", "2"), ("--rate", "100")])
def test_every_call_is_answered_and_said_to_be(bench: Bench, how: tuple[str, ...]) -> None:
    ran = bench("--route", "price", *SHORT, *how, "--json")
    assert ran.code == 0, ran.err
    (found,) = ran.json["runs"]
    assert found["codes"] == {"OK": found["answers"]}
    assert (found["failed"], found["unanswered"]) == (0, 0)
    assert 0 < found["answers"] <= found["calls"]
    assert sum(bucket["count"] for bucket in found["histogram"]) == found["answers"]


def test_the_gateway_counts_the_same_calls(bench: Bench, start_gateway: StartGateway, store: Path) -> None:
    """All of them, those of the warm-up and the first one, which is sent alone, included."""
    target = start_gateway(store).address
    ran = bench("--route", "price", "--version", "1", "--target", target, *SHORT, "--json")
    assert ran.code == 0, ran.err
    assert success_count(target, "price", "1") == ran.json["runs"][0]["calls"] + 1


def success_count(target: str, model: str, version: str) -> int:
    code = (
        "import sys, grpc; from turnout_server.rpc.stubs import open_inference_pb2 as pb\n"
        "with grpc.insecure_channel(sys.argv[1]) as channel:\n"
        "    ask = channel.unary_unary('/inference.GRPCInferenceService/ModelStatistics',\n"
        "        pb.ModelStatisticsRequest.SerializeToString, pb.ModelStatisticsResponse.FromString)\n"
        "    found = ask(pb.ModelStatisticsRequest(name=sys.argv[2], version=sys.argv[3]))\n"
        "    print(found.model_stats[0].inference_stats.success.count)"
    )
    command = [sys.executable, "-c", code, target, model, version]
    return int(
        subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=True).stdout
    )


@pytest.mark.parametrize("route", ["price", "ranking", "recommendation", "echo", "slow", "echo-bytes", "echo-fp16"])
def test_requests_are_made_up_for_any_model(bench: Bench, route: str) -> None:
    ran = bench("--route", route, "--concurrency", 2, "--rows", 3, "--axis", 2, *SHORT, "--json")
    assert (ran.code, list(ran.json["runs"][0]["codes"])) == (0, ["OK"]), ran.json


def test_units_show_the_split_and_a_version_pins(bench: Bench) -> None:
    split = bench("--route", "price", "--unit-count", 40, *SHORT, "--json").json["runs"][0]["served"]
    assert {one["target"] for one in split} == {"control", "canary"}
    pinned = bench("--route", "price", "--version", "challenger", *SHORT, "--json").json["runs"][0]["served"]
    assert {(one["model"], one["version"]) for one in pinned} == {("price", "2")}


def test_one_unit_always_gets_one_target(bench: Bench) -> None:
    served = bench("--route", "price", "--unit-count", 1, *SHORT, "--json").json["runs"][0]["served"]
    assert len(served) == 1


def test_requests_come_from_a_file(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    tensors = [
        {"name": "carat", "datatype": "FP32", "shape": [1, 1], "data": [[2.0]]},
        {"name": "cut", "datatype": "BYTES", "shape": [1, 1], "data": ["Good"]},
    ]
    file.write_text(json.dumps({"inputs": tensors, "parameters": {"unit_id": "vip"}}))
    (found,) = bench("--route", "price", "--data", file, *SHORT, "--json").json["runs"]
    assert (list(found["codes"]), [one["target"] for one in found["served"]]) == (["OK"], ["control"])


def test_a_ladder_has_a_row_for_each_step(bench: Bench) -> None:
    ran = bench("--route", "ranking", "--concurrency", "1,2,4", *SHORT)
    assert ran.code == 0, ran.err
    rows = [line.split() for line in ran.out.splitlines()]
    assert [row[0] for row in rows if len(row) == 9 and row[0].isdigit()] == ["1", "2", "4"]


def test_what_is_wrong_with_every_request_is_said_once(bench: Bench, tmp_path: Path) -> None:
    unknown = bench("--route", "nope")
    assert (unknown.code, unknown.out, unknown.err.count("\n")) == (66, "", 1)
    file = tmp_path / "body.json"
    file.write_text('{"inputs": [{"name": "nope", "datatype": "FP32", "shape": [1], "data": [1]}]}')
    wrong = bench("--route", "price", "--data", file)
    assert (wrong.code, wrong.out, wrong.err.count("\n")) == (65, "", 1)
    assert "'nope'" in wrong.err


def test_a_run_in_which_nothing_was_answered_fails(bench: Bench, tmp_path: Path) -> None:
    """Its report is there nonetheless. Each request runs for some 50 ms, and its caller waits for one."""
    rounds = {"name": "rounds", "datatype": "INT64", "shape": [1], "data": [200]}
    requests = tmp_path / "requests.json"
    requests.write_text(json.dumps({"inputs": [rounds]}), encoding="utf-8")
    ran = bench("--route", "slow", "--data", str(requests), "--timeout", "0.001", *SHORT)
    assert (ran.code, "DEADLINE_EXCEEDED" in ran.out) == (69, True)
    assert ran.err.splitlines()[-1].startswith("turnout: error: no call was answered")


def test_ctrl_c_ends_a_run_early_with_its_report(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "turnout_server", "bench", "--route", "price", "--target", gateway.address]
    command += ["--duration", "600", "--warmup", "0", "--concurrency", "2"]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stderr is not None
    assert "2 callers" in process.stderr.readline()  # the first second's line: the run is under way
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "ANSWERS/S" in out, "up to ms" in out) == (130, True, True), err
