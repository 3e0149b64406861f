"""The commands that ask a gateway, against a real one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pytest

from tests.e2e.conftest import Gateway, StartGateway, environment
from tests.e2e.probes import records
from tests.e2e.tiny_store import ROUTES
from tests.tables import check_all
from turnout_server.cli.application import run


class Ran(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Turnout = Callable[..., Ran]


@pytest.fixture
def turnout(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Turnout:
    """Run `turnout` in this process, which is quicker than a process for each."""

    def ran(*arguments: object, stdin: str = "", target: str = "") -> Ran:
        if target:
            monkeypatch.setenv("TURNOUT_TARGET", target)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = run([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return ran


@pytest.fixture
def ask(turnout: Turnout, gateway: Gateway) -> Turnout:
    """Run `turnout` with the shared gateway as its target."""
    return lambda *arguments, **options: turnout(*arguments, target=gateway.address, **options)


def answer(ran: Ran) -> Any:
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


def test_call_prices(ask: Turnout) -> None:
    ran = ask("call", "price", "-f", "carat=2", "-f", "cut=Good", "--unit", "vip")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.split() for line in ran.stdout.splitlines()[:2]] == [
        ["PRICE", "LOW", "HIGH"],
        ["2200", "1980", "2420"],
    ]
    assert ran.stdout.splitlines()[2].startswith(
        "price/control -> price 1 (OVERRIDE): an override of the route matched"
    )


def test_call_ranks(ask: Turnout) -> None:
    words = ("-c", "a:price=3,discount=1", "-c", "b:price=2", "--context", "hour=10", "-k", "1", "--version", "2")
    found = answer(ask("call", "ranking", *words, "--json"))
    assert [(one["id"], one["score"]) for one in found["candidates"]] == [("a", 4.0)]
    assert (found["served"]["version"], found["served"]["reason"]) == (2, "PINNED")


def test_call_recommends(ask: Turnout) -> None:
    words = ("--history", "105,999", "--exclude", "101", "--exclude", "102,103", "-k", "2", "--version", "1")
    assert [one["id"] for one in answer(ask("call", "recommendation", *words, "--json"))["items"]] == ["104", "105"]


def test_call_takes_the_request_from_stdin_and_options_win(ask: Turnout) -> None:
    request = json.dumps({"rows": [{"carat": 1}, {"carat": 2, "cut": "Fair"}]})
    found = answer(ask("call", "price", "--data", "-", "-f", "cut=Good", "-H", "x-qa=on", "--json", stdin=request))
    assert [round(one["price"]) for one in found["prices"]] == [1210, 2420]
    assert (found["served"]["target"], found["served"]["reason"]) == ("canary", "OVERRIDE")


FAILING = [
    ("nope -f a=1", 66, "no route or model named 'nope' (ROUTE_NOT_FOUND, NOT_FOUND)"),
    ("price -f caret=1", 65, "FEATURE_UNKNOWN"),
    ("price", 65, "FEATURE_MISSING"),
    ("price -f carat=heavy", 65, "FEATURE_INVALID"),
    ("price -f carat=1 --version 9", 66, "VERSION_NOT_FOUND"),
    ("price -f carat=1 --version nobody", 66, "LABEL_NOT_FOUND"),
    ("price --history 1", 2, "'price' does price, which takes features, rows"),
    ("ranking", 2, "--candidate"),
    ("echo", 65, "INPUT_MISSING"),
    ("price -f caret=1", 65, "did you mean 'carat'?"),
    ("ranking -f prize=1 --plain", 65, "did you mean 'price'?"),
    ("ranking -f price=1", 2, "--plain passes over that"),
    ("echo-fp32 -f in_fp32=[[[1]]]", 65, "input 'in_fp32' is FP32 [-1, -1]; found 3 axes"),
    ("echo-fp32 -f in_fp32=1 -o nope", 65, "OUTPUT_UNKNOWN"),
    ("echo-int8 -f in_int8=300", 65, "found 300; INT8 is from -128 to 127"),
    ("echo-fp32 --history 1", 2, "--history: 'echo-fp32' is called by its inputs' names"),
    ("price --data nowhere.csv", 66, "nowhere.csv: No such file or directory"),
    ("price -f carat=1,2", 2, "Several rows go as carat=[1,2]"),
    ("recommendation --history 1 -k 5000", 65, "top_k"),
    ("price -f carat=1 --metadata bad\x01=x", 2, "--metadata: 'bad\\x01'"),
    ("price -f carat=1 --metadata good=\x01", 2, "--metadata: the value of 'good'"),
    ("price -f carat=1 --unit \udcff", 2, "'\\udcff' is not UTF-8 text"),
]


def test_a_call_that_fails_says_why_in_one_line(ask: Turnout) -> None:
    def check(line: str, code: int, says: str) -> None:
        ran = ask("call", *line.split(" "))
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (code, "", 1)
        assert says in ran.stderr

    check_all(FAILING, check)


def test_a_data_file_of_any_shape_gets_one_line(ask: Turnout) -> None:
    shapes = [
        {"rows": 3},
        {"rows": [3]},
        {"features": 3},
        {"features": {"carat": [[1]]}},
        {"features": {"carat": {}}},
        {"features": {"3": 1, "carat": None}},
    ]
    for shape in shapes:
        ran = ask("call", "price", "--data", "-", stdin=json.dumps(shape))
        assert (ran.returncode in (2, 65), ran.stderr.count("\n")) == (True, 1), (shape, ran.stderr)
        assert "unexpected" not in ran.stderr
    for route, shape in [
        ("ranking", {"candidates": [1]}),
        ("ranking", {"candidates": {"a": 1}}),
        ("ranking", {"candidates": {"a": {}}, "context": 3}),
        ("ranking", {"candidates": {"a": {}}, "k": "x"}),
        ("recommendation", {"history": 3}),
        ("recommendation", {"history": "abc", "k": 1.5}),
    ]:
        ran = ask("call", route, "--data", "-", stdin=json.dumps(shape))
        assert (ran.returncode in (2, 65), ran.stderr.count("\n")) == (True, 1), (shape, ran.stderr)
        assert "unexpected" not in ran.stderr


def test_call_asks_any_model(ask: Turnout) -> None:
    ran = ask("call", "echo-fp32", "-f", "in_fp32=1,2.5")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.split() for line in ran.stdout.splitlines()[:2]] == [["OUT_FP32_0", "OUT_FP32_1"], ["1", "2.5"]]
    assert ran.stdout.splitlines()[2].startswith("echo-fp32 1 (NAMED): ")
    assert answer(ask("call", "echo-bytes", "-f", "in_bytes=red shoes", "--json"))["outputs"] == {
        "out_bytes": [["red shoes"]]
    }
    plain = answer(ask("call", "ranking", "--plain", "-f", "price=[3,2]", "--version", "1", "--json"))
    assert plain["outputs"] == {"score": [-3.0, -2.0]}
    chosen = answer(ask("call", "price", "-f", "carat=1", "-o", "high,low", "--version", "1", "--json"))
    assert list(chosen["outputs"]) == ["high", "low"]


def test_a_target_may_be_a_url(turnout: Turnout, gateway: Gateway) -> None:
    ran = turnout("call", "slow", "--target", f"http://{gateway.address}", "--json")
    assert answer(ran)["outputs"] == {"done": [20]}
    assert turnout("call", "slow", "--target", f"https://{gateway.address}").returncode == 2


def test_call_says_what_was_defaulted(ask: Turnout) -> None:
    ran = ask("call", "price", "-f", "carat=1", "--explain-defaults")
    assert "1 of 2 features defaulted: cut 'Ideal'" in ran.stdout.splitlines()
    ranked = ask("call", "ranking", "-c", "a:price=1", "--context", "hour=3", "--explain-defaults", "--json")
    assert answer(ranked)["defaulted"] == {"discount": 0.0}
    slow = ask("call", "slow", "--explain-defaults")
    assert "1 of 1 features defaulted: rounds 20" in slow.stdout.splitlines()


def test_call_takes_files_of_every_form(ask: Turnout, tmp_path: Path) -> None:
    """The same two articles, whoever wrote them down."""
    rows = [{"carat": 1.0, "cut": "Fair"}, {"carat": 2.0, "cut": "Good"}]
    body = {
        "inputs": [
            {"name": "carat", "datatype": "FP32", "shape": [2, 1], "data": [1, 2]},
            {"name": "cut", "datatype": "BYTES", "shape": [2, 1], "data": ["Fair", "Good"]},
        ]
    }
    files = {
        "rows.json": json.dumps(rows),
        "columns.json": json.dumps({"carat": [1, 2], "cut": ["Fair", "Good"]}),
        "oip.json": json.dumps(body),
        "lines.jsonl": "\n".join(map(json.dumps, rows)),
        "table.csv": "carat,cut,price\n1,Fair,0\n2.0,Good,0\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    duckdb.sql("SELECT * FROM (VALUES (1.0, 'Fair'), (2.0, 'Good')) t(carat, cut)").write_parquet(
        str(tmp_path / "table.parquet")
    )
    np.savez(tmp_path / "arrays.npz", carat=np.array([1.0, 2.0]), cut=np.array(["Fair", "Good"]))
    for name in (*files, "table.parquet", "arrays.npz"):
        drop = ("--drop", "price") if name == "table.csv" else ()
        found = answer(ask("call", "price", "--data", tmp_path / name, *drop, "--version", "1", "--json"))
        prices = found["outputs"]["price"] if "outputs" in found else [one["price"] for one in found["prices"]]
        assert [round(price) for price in prices] == [1000, 2200], name
    ran = ask("call", "price", "--data", tmp_path / "table.csv")
    assert (ran.returncode, ran.stderr.count("\n")) == (65, 1)
    assert "no feature named 'price'" in ran.stderr
    assert "--drop" in ran.stderr


def test_models_and_routes_can_be_asked_of_a_gateway(turnout: Turnout, gateway: Gateway) -> None:
    (row, _) = answer(turnout("models", "price", "--target", gateway.address, "--json"))
    assert (row["version"], row["state"], row["labels"]) == (2, "AVAILABLE", ["challenger"])
    served = answer(turnout("routes", "show", "--target", gateway.address, "--json"))
    stored = answer(turnout("routes", "show", "--store", gateway.store, "--json"))
    assert served == stored


def test_offline_assignments_are_those_of_the_gateway(turnout: Turnout, gateway: Gateway, ask: Turnout) -> None:
    units = [f"u{number}" for number in range(5)]
    offline = answer(turnout("assign", "price", *units, "--store", gateway.store, "--json"))["assignments"]
    online = [answer(ask("call", "price", "-f", "carat=1", "-u", unit, "--json"))["served"] for unit in units]
    assert [(one["target"], one["resolved"]) for one in offline] == [(one["target"], one["version"]) for one in online]


def test_health_is_an_exit_code(ask: Turnout) -> None:
    assert (ask("health").returncode, ask("health").stdout) == (0, "SERVING\n")
    assert ask("health", "--service", "turnout.v1.PricingService").returncode == 0
    unknown = ask("health", "--service", "nope")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)


def test_a_containers_health_check_is_a_process(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "turnout_server", "health", "--target", gateway.address]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "SERVING\n", "")


def test_doctor_asks_the_gateway_too(turnout: Turnout, gateway: Gateway) -> None:
    ran = turnout(
        "doctor", "--store", gateway.store, "--target", gateway.address, "--listen", gateway.address, "--json"
    )
    found = {one["what"]: one["result"] for one in json.loads(ran.stdout)}
    assert (ran.returncode, found["gateway"], found["listen"]) == (1, "ok", "fail")


def test_changes_through_a_gateway(turnout: Turnout, store: Path, tmp_path: Path, start_gateway: StartGateway) -> None:
    target = ("--target", start_gateway(store, "--allow-changes").address)
    assert answer(turnout("label", "price", "fresh", 2, *target, "--json"))["version"] == 2
    assert turnout("label", "price", "fresh", 1, "--expect", 1, *target).returncode == 75
    assert turnout("label", "price", "fresh", "--delete", "--expect", 2, *target).returncode == 0
    assert turnout("label", "price", "fresh", "--delete", *target).returncode == 66
    table = tmp_path / "new.yaml"
    table.write_text(ROUTES.replace("weight: 90", "weight: 30"))
    dry = turnout("routes", "apply", table, "--dry-run", *target)
    assert dry.stdout.splitlines() == [
        "~ ranking: control: share 90 % -> 75 %",
        "~ ranking: canary: share 10 % -> 25 %",
    ]
    assert (store / "routes.yaml").read_text() == ROUTES
    assert turnout("routes", "apply", table, "--expect-digest", "0" * 64, *target).returncode == 75
    assert turnout("routes", "apply", table, *target).returncode == 0
    assert (store / "routes.yaml").read_text() == table.read_text()
    table.write_text(ROUTES.replace("model: echo", "model: gone"))
    refused = turnout("routes", "apply", table, *target)
    assert (refused.returncode, "$.routes.echo.targets[0].model" in refused.stderr) == (65, True)


def test_a_gateway_that_allows_no_changes_says_so(turnout: Turnout, gateway: Gateway) -> None:
    ran = turnout("label", "price", "champion", 2, "--target", gateway.address)
    assert (ran.returncode, "--allow-changes" in ran.stderr) == (77, True)


def test_the_older_name_of_a_data_plane_is_taken_with_one_warning(
    tiny_store: Path, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(tiny_store, "--data-plane", "auto", "--set", "transport=grpcio")
    (warning,) = (one for one in records(gateway) if one["event"] == "outdated setting")
    assert warning["level"] == "warning"
    assert warning["problem"].startswith("transport: grpcio is data_plane: python now")
    (plane,) = (one for one in records(gateway) if one["event"] == "data plane")
    assert plane["name"] == "python"
