"""What `turnout doctor` finds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.e2e.tiny_store import ROUTES
from turnout_server.cli import doctor
from turnout_server.engine.choice import NOT_INSTALLED, Engine
from turnout_server.store.rollouts import Rollouts
from turnout_server.vocabulary.errors import StoreError


def test_doctor_is_content_with_a_good_store(run: Run, store: Path) -> None:
    ran = run("doctor", "--listen", "127.0.0.1:0", "--json")
    assert (ran.code, {one["result"] for one in ran.json}) == (0, {"ok"})


def test_doctor_warns_of_bounds_for_a_model_that_is_not_there(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("models: {price: {queue_wait_ms: 20}, pirce: {queue_wait_ms: 20}}")
    ran = run("doctor", "--config", file, "--json")
    odd = [one for one in ran.json if one["result"] != "ok"]
    assert [(one["what"], one["found"]) for one in odd] == [("models.pirce", "the store has no such model")]


WATCH = """
import importlib.abc, os, sys

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("telemetry off:", os.environ.get("ORT_DISABLE_TELEMETRY"), file=sys.stderr)

sys.meta_path.insert(0, Watch())
"""
"""Says how things are when ONNX Runtime is imported first, whoever does it."""


@pytest.mark.parametrize(
    "program",
    [
        "from turnout_server.cli.application import run; run(['doctor'])",
        "import pipelines.__main__, onnxruntime",
        "import pipelines.export as export, onnxruntime",
    ],
)
def test_no_telemetry_of_onnx_runtime_runs(store: Path, program: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", WATCH + program], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("telemetry off:")]
    assert said == ["telemetry off: 1"]


def test_only_packages_that_switch_it_off_import_onnx_runtime() -> None:
    root = Path(__file__).parents[2]
    importing = re.compile(r"^\s*(import|from) onnxruntime\b", re.M)
    found = {
        file.parent.relative_to(root)
        for folder in ("server", "clients", "pipelines")
        for file in (root / folder).rglob("*.py")
        if importing.search(file.read_text(encoding="utf-8"))
    }
    assert found == {Path("server/turnout_server/onnx"), Path("pipelines")}
    for folder in found:
        assert 'os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")' in (root / folder / "__init__.py").read_text()


def test_doctor_finds_rollouts_that_nobody_can_list(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Rollouts) -> None:
        raise StoreError("cannot list rollouts")

    monkeypatch.setattr(Rollouts, "read", fail)
    ran = run("doctor", "--json")
    found = {one["what"]: one for one in ran.json if one["result"] != "ok"}
    assert ran.code == 1
    assert found.keys() == {"rollouts"}
    assert found["rollouts"]["found"] == "the store's rollouts cannot be listed: pauses may not be in force"


def test_doctor_names_each_thing_that_is_wrong(run: Run, store: Path) -> None:
    (store / "routes.yaml").write_text(ROUTES.replace("model: echo,", "model: gone,"))
    model = store / "models/price/1/model.onnx"
    model.unlink()
    (store / "models/ranking/labels.json").write_text('{"champion": 9}')
    ran = run("doctor", "--json")
    found = {one["what"]: one for one in ran.json if one["result"] != "ok"}
    assert ran.code == 1
    assert found.keys() == {"price version 1", "model ranking", "routes"}
    assert "no model 'gone'" in found["routes"]["found"]
    assert all(one["advice"] for one in found.values())


@pytest.mark.parametrize(
    ("engine", "result", "found"),
    [
        (Engine("0.1.0"), "ok", "engine: turnout-engine 0.1.0"),
        (Engine(problem=NOT_INSTALLED), "ok", "python: turnout-engine is not installed"),
        (Engine("9", "turnout-engine is 9, and this is Turnout 1"), "warn", "python: turnout-engine is 9"),
    ],
)
def test_doctor_says_which_data_plane_would_serve(
    run: Run, store: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine, result: str, found: str
) -> None:
    monkeypatch.setattr(doctor, "find", lambda: engine)
    (one,) = (one for one in run("doctor", "--json").json if one["what"] == "data plane")
    assert (one["result"], one["found"][: len(found)]) == (result, found)
    assert ("docs/engine.md" in one["advice"]) == found.startswith("python")


@pytest.mark.parametrize(
    ("text", "config", "found"),
    [
        ("data_plane: python", "ok", "python: data_plane is python"),
        ("data_plane: engine", "ok", "data_plane: found engine, but turnout-engine is not installed"),
        ("transport: grpcio", "warn", "python: data_plane is python"),
        ("data_plane: rust", "fail", None),
    ],
)
def test_doctor_looks_at_settings(
    run: Run, store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, config: str, found: str | None
) -> None:
    monkeypatch.setattr(doctor, "find", lambda: Engine(problem=NOT_INSTALLED))
    file = tmp_path / "turnout.yaml"
    file.write_text(text)
    checks = {one["what"]: one for one in run("doctor", "--json", "--config", file).json}
    assert checks["config"]["result"] == config
    assert ("is data_plane: python now" in checks["config"]["found"]) == ("transport" in text)
    if found is None:
        assert "data plane" not in checks
    else:
        assert checks["data plane"]["found"].startswith(found)
        assert (checks["data plane"]["result"] == "fail") == ("engine" in text)
