"""What `turnout doctor` finds."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run
from tests.e2e.tiny_store import ROUTES


def test_doctor_is_content_with_a_good_store(run: Run, store: Path) -> None:
    ran = run("doctor", "--listen", "127.0.0.1:0", "--json")
    assert (ran.code, {one["result"] for one in ran.json}) == (0, {"ok"})


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
