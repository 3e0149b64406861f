"""A child leaves one answer, whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from turnout_server.sources import converter
from turnout_server.sources.conversation import Answer, Converted, Failed, Fetched, Missing, Request
from turnout_server.sources.source import Kind, SourceError


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | None], Answer]:
    def answered(error: BaseException | None) -> Answer:
        def convert(request: Request, graph: Path) -> Converted:
            assert graph == tmp_path / "model.onnx"
            if error is not None:
                raise error
            return Converted("tool 1")

        monkeypatch.setattr(converter, "convert", convert)
        return converter._answer(Request(Kind.LIGHTGBM, "x", str(tmp_path)))

    return answered


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, Converted("tool 1")),
        (ModuleNotFoundError("No module named 'skl2onnx.x'", name="skl2onnx"), Missing("skl2onnx")),
        (SourceError("it is no model"), Failed("it is no model")),
        (ValueError("odd"), Failed("ValueError: odd")),
        (SystemExit(3), Failed("SystemExit: 3")),
    ],
)
def test_what_comes_of_a_conversion_is_said(
    answer: Callable[[BaseException | None], Answer], error: BaseException | None, expected: Answer
) -> None:
    assert answer(error) == expected


def test_memory_that_has_run_out_is_told(answer: Callable[[BaseException | None], Answer]) -> None:
    said = answer(MemoryError())
    assert isinstance(said, Failed)
    assert "memory" in said.problem


def test_a_registry_is_asked_for_what_is_its(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "fetch", lambda uri, out: Fetched(f"{out}/{uri}"))
    assert converter._answer(Request(Kind.MLFLOW, "models:/x/1", str(tmp_path))) == Fetched(f"{tmp_path}/models:/x/1")
