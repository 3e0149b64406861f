"""A sample says which columns there are, and of which type."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from turnout_server.sources.sample import read_sample
from turnout_server.sources.source import SourceError


def written(directory: Path, text: str) -> Path:
    (directory / "sample").write_text(text, encoding="utf-8")
    return directory / "sample"


@pytest.mark.parametrize(
    "text",
    [
        "age,income,city,new\n30,1.5,Berlin,true\n41,2,Rome,false\n",
        "\ufeffage,income,city,new\r\n30,1.5,Berlin,True\r\n41,2,Rome,False\r\n",
        '[{"age":30,"income":1.5,"city":"Berlin","new":true},{"age":41,"income":2,"city":"Rome","new":false}]',
        '{"age":[30,41],"income":[1.5,2],"city":["Berlin","Rome"],"new":[true,false]}',
    ],
)
def test_rows_are_read_by_column(tmp_path: Path, text: str) -> None:
    sample = read_sample(written(tmp_path, text))
    assert sample.columns == {"age": [30, 41], "income": [1.5, 2], "city": ["Berlin", "Rome"], "new": [True, False]}
    assert sample.dtypes == {"age": "INT64", "income": "FP32", "city": "BYTES", "new": "BOOL"}
    assert sample.rows == 2


def test_a_missing_value_makes_whole_numbers_floats_and_texts_empty(tmp_path: Path) -> None:
    sample = read_sample(written(tmp_path, "a,b\n1,x\n,\n"))
    assert sample.dtypes == {"a": "FP32", "b": "BYTES"}
    assert math.isnan(sample.columns["a"][1])
    assert sample.columns["b"] == ["x", ""]


def test_of_one_column_an_empty_line_is_a_missing_value(tmp_path: Path) -> None:
    assert read_sample(written(tmp_path, "city\nRome\n\nBonn\n\n")).columns == {"city": ["Rome", "", "Bonn"]}
    assert read_sample(written(tmp_path, "a,b\n1,2\n\n3,4\n")).columns == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "head"),
        ("a,b\n", "expected a row at least"),
        ("a,b\n1\n", "line 2 has 1 values for 2 columns"),
        ('\na,b\n"1\n2",3\n\n1\n', "line 6 has 1 values for 2 columns"),
        ("a,a\n1,2\n", "the same name"),
        ('{"a": [1], "b": [1, 2]}', "as many values"),
        ('{"a": 1}', "expected a list of objects"),
        ("[1]", "expected a list of objects"),
        ('{"x": [[1, 2], [3, 4]]}', "column 'x' has lists; expected one value a row"),
        ('[{"x": {"y": 1}}]', "column 'x' has lists; expected one value a row"),
        ("{", "not JSON"),
    ],
)
def test_what_is_no_sample_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        read_sample(written(tmp_path, text))


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        read_sample(tmp_path / "nothing.csv")
