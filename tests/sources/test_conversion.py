"""A conversion is a child's, bounded in time; it needs to be wanted, and what converts has to be there."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from turnout_server.sources import conversion
from turnout_server.sources.conversation import Converted, Request
from turnout_server.sources.conversion import ConverterMissingError, UntrustedError, check, run
from turnout_server.sources.source import Kind, SourceError


class Playing:
    """A pickle that calls something when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def asked(directory: Path, model: object) -> Request:
    (directory / "model.pkl").write_bytes(pickle.dumps(model))
    return Request(Kind.SKLEARN, str(directory / "model.pkl"), str(directory), trusted=True)


def test_what_runs_code_has_to_be_wanted() -> None:
    with pytest.raises(UntrustedError, match="--unpickle") as caught:
        check(Kind.SKLEARN, trusted=False)
    assert caught.value.lines[0] == "pip install scikit-learn skl2onnx"
    check(Kind.SKLEARN, trusted=True)
    check(Kind.LIGHTGBM, trusted=False)


def test_what_is_not_converted_here_is_told_with_what_does() -> None:
    with pytest.raises(ConverterMissingError, match="a CatBoost model is not converted here") as caught:
        check(Kind.CATBOOST, trusted=True)
    assert len(caught.value.lines) == 4


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("sys.exit(3)", r"ended with exit code 3"),
        ("os.kill(os.getpid(), 11)", r"ended with signal 11"),
        ("sys.exit('no \\x1b[31mmore')", r"ended with exit code 1: no \?\[31mmore"),
        ("answer({'type': 'Failed', 'problem': 'odd'})", r"x: odd$"),
        ("answer({'type': 'Missing', 'module': 'lightgbm'})", "needs lightgbm, which is not installed"),
        ("answer(3)", "ended with exit code 0"),
    ],
)
def test_whatever_becomes_of_the_child_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    play(tmp_path, monkeypatch, body)
    with pytest.raises(SourceError, match=says):
        run(Request(Kind.LIGHTGBM, "x", str(tmp_path)), 60.0)


def test_a_child_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(tmp_path, monkeypatch, "time.sleep(600)")
    with pytest.raises(SourceError, match=r"took more than 0\.05 s"):
        run(Request(Kind.LIGHTGBM, "x", str(tmp_path)), 0.05)


def play(directory: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Have the child do *body* in place of a conversion."""
    program = (
        "import json, os, sys, time\n"
        f"def answer(what): open({str(directory / 'answer.json')!r}, 'w').write(json.dumps(what))\n"
        f"{body}\n"
    )
    popen = conversion.subprocess.Popen
    monkeypatch.setattr(
        conversion.subprocess, "Popen", lambda command, **named: popen([sys.executable, "-c", program], **named)
    )


def test_a_pickle_is_read_in_a_process_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("skl2onnx")
    with pytest.raises(SourceError, match=r"it holds a builtins\.dict, which is no model"):
        run(asked(tmp_path, Playing(eval, "__import__('os').environ.__setitem__('PLAYED', '1') or {}")), 120.0)
    assert "PLAYED" not in conversion.os.environ


def test_a_model_becomes_an_onnx_file(tmp_path: Path) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    pytest.importorskip("skl2onnx")
    made = run(asked(tmp_path, linear.LinearRegression().fit([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [1, 2, 3])), 120.0)
    assert isinstance(made, Converted)
    assert made.framework.startswith("scikit-learn ")
    assert (tmp_path / "model.onnx").stat().st_size > 0
