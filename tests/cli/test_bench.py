"""What `turnout bench` is told wrongly. `test_bench_view.py` has how results are shown, `tests/e2e/` real runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.tables import check_all

BODY = '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.0]}]}'


WRONG = [
    ("bench", 2),
    ("bench --route", 2),
    ("bench --route price --concurrency 0", 2),
    ("bench --route price --concurrency x", 2),
    ("bench --route price --concurrency 1,,2", 2),
    ("bench --route price --concurrency 1.5", 2),
    ("bench --route price --rate 0", 2),
    ("bench --route price --rate nan", 2),
    ("bench --route price --rate x", 2),
    ("bench --route price --rate 5 --concurrency 5", 2),
    ("bench --route price --duration 0", 2),
    ("bench --route price --duration nan", 2),
    ("bench --route price --warmup -1", 2),
    ("bench --route price --timeout 0", 2),
    ("bench --route price --connections 0", 2),
    ("bench --route price --rows 0", 2),
    ("bench --route price --unit-count -1", 2),
    ("bench --route price --target ", 2),
    ("bench --route price --data body.json --rows 2", 2),
    ("bench --route price --data nowhere", 66),
    ("bench --route price --data binary", 65),
    ("bench --route price --data body.json", 65),
    ("bench --route price --target 127.0.0.1:1", 69),
    ("bench --route price --target name.invalid:1", 69),
]


@pytest.mark.usefixtures("store")
def test_wrong_input_ends_with_one_line_and_its_exit_code(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "body.json").write_text(BODY)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    monkeypatch.chdir(tmp_path)

    def check(line: str, code: int) -> None:
        ran = run(*line.split(" "))
        assert (ran.code, ran.err.count("\n"), ran.out) == (code, 1, ""), ran.err
        assert ran.err.startswith("turnout: error: ")

    check_all(WRONG, check)


def test_a_wrong_body_says_which_input_is_wrong(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_text(BODY)
    assert "input 'x': expected 2 elements by its shape, found 1" in run("bench", "-r", "price", "--data", file).err
