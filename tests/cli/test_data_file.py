"""Files of requests, in every form that people have, and what is wrong with them in one line."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from turnout_server.cli import data_file
from turnout_server.cli.data_file import Table, Whole
from turnout_server.cli.exits import CommandError


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("name", "content", "contents"),
    [
        ("a.json", '{"age": 30}', {"age": 30}),
        ("a.txt", '{"age": 30}', {"age": 30}),
        ("a.json", '[{"age": 30}, {"city": "Rome"}]', Table({"age": [30, None], "city": [None, "Rome"]})),
        ("a.jsonl", '{"age": 30}\n\n{"age": 40}\n', Table({"age": [30, 40]})),
        ("a.csv", "age,city\n30,Rome\n,\n", Table({"age": ["30", ""], "city": ["Rome", ""]}, is_text=True)),
        (
            "a.csv",
            '\ufeffage, city\r\n1,"Rome, Italy"\r\n',
            Table({"age": ["1"], "city": ["Rome, Italy"]}, is_text=True),
        ),
        ("a.tsv", "age\tcity\n30\tRome\n", Table({"age": ["30"], "city": ["Rome"]}, is_text=True)),
        ("a.csv", "age\n30\n\n40\n\n", Table({"age": ["30", "", "40"]}, is_text=True)),
        (
            "a.csv",
            "age,city\n30,Rome\n\n40,Bonn\n",
            Table({"age": ["30", "40"], "city": ["Rome", "Bonn"]}, is_text=True),
        ),
        ("a.csv", 'note\n"two\r\nlines"\n', Table({"note": ["two\r\nlines"]}, is_text=True)),
    ],
)
def test_json_and_csv(tmp_path: Path, name: str, content: str, contents: Any) -> None:
    assert data_file.read(written(tmp_path, name, content)) == contents


@pytest.mark.parametrize(
    ("text", "kind"), [('{"a,b": 1}', dict), ("[]", Table), ("a,b\n1,2\n", Table), ("a\tb\n1\t2\n", Table)]
)
def test_stdin_is_json_or_csv(monkeypatch: pytest.MonkeyPatch, text: str, kind: type) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert isinstance(data_file.read(Path("-")), kind)


def test_the_open_inference_form_is_whole_inputs(tmp_path: Path) -> None:
    body = {
        "id": "1",
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]},
            {"name": "t", "datatype": "BYTES", "shape": [1], "data": ["a"]},
            {"name": "h", "datatype": "BF16", "shape": [1, 1], "data": [[0.5]]},
        ],
        "outputs": [{"name": "y"}],
    }
    found = data_file.read(written(tmp_path, "a.json", json.dumps(body)))
    assert isinstance(found, Whole)
    assert found.outputs == ("y",)
    assert {name: (array.dtype.name, array.tolist()) for name, array in found.inputs.items()} == {
        "x": ("float32", [[1, 2], [3, 4]]),
        "t": ("object", ["a"]),
        "h": ("float32", [[0.5]]),
    }


def test_parquet_with_its_types(tmp_path: Path) -> None:
    file = tmp_path / "a*[1].parquet"
    rows = "(30, 1.5::DECIMAL(4,1), 'Rome', [1.0, 2.0]), (NULL, 2.5, NULL, [3.0, 4.0])"
    duckdb.sql(f"SELECT * FROM (VALUES {rows}) t(age, price, city, v)").write_parquet(str(file))
    assert data_file.read(file) == Table(
        {"age": [30, None], "price": [1.5, 2.5], "city": ["Rome", None], "v": [[1.0, 2.0], [3.0, 4.0]]}
    )


def test_without_a_reader_of_parquet_the_way_to_one_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CommandError, match=re.escape("pip install 'turnout[server]'")):
        data_file.read(written(tmp_path, "a.parquet", "PAR1"))


def test_numpys_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((2, 2)), age=np.array([1, 2]))
    found = data_file.read(tmp_path / "a.npz")
    assert isinstance(found, Whole)
    assert {name: array.shape for name, array in found.inputs.items()} == {"x": (2, 2), "age": (2,)}
    np.save(tmp_path / "a.npy", np.ones(3))
    alone = data_file.read(tmp_path / "a.npy")
    assert isinstance(alone, Whole)
    assert list(alone.inputs) == [""]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", "{", "not JSON: "),
        ("a.json", "!!bool x", "not JSON: "),
        ("a.json", "1" * 5000, "not JSON: "),
        ("a.json", "[" * 100_000, "not JSON: "),
        ("a.json", "3", "expected a JSON object, or a list of rows"),
        ("a.json", "[1]", "row 0 is '1'; expected {feature: value}"),
        ("a.json", b"\xff", "not UTF-8 text"),
        ("a.jsonl", "[1]\n", "row 0 is '[1]'"),
        ("a.json", '{"inputs": [3]}', "inputs[0]: expected name, datatype, shape and data"),
        ("a.json", '{"inputs": [{"name": "x"}]}', "inputs[0]: expected name, datatype, shape and data"),
        ("a.json", '{"inputs": [{"name": "x", "datatype": "F", "data": []}]}', "inputs[0]: 'F' is not a valid DType"),
        ("a.json", '{"inputs": [{"name": "x", "shape": [2], "data": [1]}]}', "inputs[0]: cannot reshape"),
        ("a.json", '{"inputs": [{"name": "x", "datatype": "FP32", "data": [[1], [1, 2]]}]}', "inputs[0]: "),
        ("a.json", '{"inputs": [{"name": "x", "data": 1}, {"name": "x", "data": 1}]}', "inputs[1]: 'x' stands twice"),
        ("a.json", '{"inputs": [], "outputs": [3]}', "outputs: expected a list of {name: ...}"),
        ("a.csv", "", "is empty; expected a line of names"),
        ("a.csv", "a,a\n1,2\n", "'a' stands twice"),
        ("a.csv", "a,\n1,2\n", "column 1 has no name"),
        ("a.csv", "a,b\n1\n", "row 0 (line 2) has 1 values for 2 columns"),
        ("a.csv", '\na,b\n"1\n2",3\n\n\n1\n', "row 1 (line 7) has 1 values for 2 columns"),
        ("a.jsonl", '{"a": 1}\n\n{"a": \n', "line 3 is not JSON: "),
        ("a.csv", 'a\n"x', "not CSV: "),
        ("a.parquet", "text", "a.parquet: "),
        ("a.npz", "text", "a.npz: "),
        ("a.npz", b"PK\x03\x04", "a.npz: "),
        ("a.npy", b"", "a.npy: "),
    ],
)
def test_a_file_that_is_not_what_it_is_called(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    with pytest.raises(CommandError, match=re.escape(says)):
        data_file.read(written(tmp_path, name, content))


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.parquet", "a.npz"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match="No such file"):
        data_file.read(tmp_path / name)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{}], object))
    with pytest.raises(CommandError, match="allow_pickle"):
        data_file.read(tmp_path / "a.npz")
