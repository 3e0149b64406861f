"""The command builds what it is asked for, or says in one line why not."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines import __main__ as command
from pipelines.report import PipelineError, Result, Say

BUILT: list[str] = []


@pytest.fixture(autouse=True)
def pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put quick pipelines in place of the real ones; ranking's fails."""
    BUILT.clear()
    for variable in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(variable, "1")

    def pipeline(model: str) -> SimpleNamespace:
        def build(store: Path, say: Say) -> list[Result]:
            say("training")
            if model == "ranking":
                raise PipelineError("ranking: no better than chance [sic]")
            BUILT.append(model)
            return [Result(model, 1, "trees", {"x": 1.0}, {"mean": {"x": 2.0}}, 1000, 0.0)]

        return SimpleNamespace(build=build)

    for model in command.MODELS:
        monkeypatch.setitem(sys.modules, f"pipelines.{model}", pipeline(model))


def test_only_what_is_asked_for_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--store", str(tmp_path), "--only", "price,recommendation"]) == 0
    assert BUILT == ["recommendation", "price"]
    assert capsys.readouterr().out.startswith("| model |")


def test_a_failure_is_one_line_and_a_non_zero_exit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--store", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "failed: ranking: no better than chance [sic]" in printed.err
    assert printed.out == ""


def test_an_unknown_model_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["--store", str(tmp_path), "--only", "prices"])
    assert "no model named prices; there are recommendation, ranking, price" in capsys.readouterr().err
