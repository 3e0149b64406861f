"""DataFrames become columns, and answers become DataFrames again."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from turnout import frames


def test_numbers_are_arrays_and_the_rest_lists_with_none_for_what_is_missing() -> None:
    frame = pd.DataFrame(
        {
            "float": np.array([1.5, np.nan], np.float32),
            "int": [1, 2],
            "bool": [True, False],
            "text": ["a", None],
            "category": pd.Categorical(["x", "y"]),
            "nullable": pd.array([1, None], dtype="Int64"),
            "maybe": pd.array([True, None], dtype="boolean"),
            "mixed": [1, pd.NA],
            "string": pd.array(["a", None], dtype="string"),
        }
    )
    columns = frames.columns_of(frame)
    assert [type(columns[name]) for name in ("float", "int", "bool")] == [np.ndarray] * 3
    assert columns["float"].dtype == np.float32
    assert {name: columns[name] for name in list(columns)[3:]} == {
        "text": ["a", None],
        "category": ["x", "y"],
        "nullable": [1, None],
        "maybe": [True, None],
        "mixed": [1, None],
        "string": ["a", None],
    }


@pytest.mark.parametrize(
    ("frame", "error", "says"),
    [
        (pd.DataFrame({"when": pd.to_datetime(["2026-11-05"])}), TypeError, "feature 'when' has datetime64"),
        (pd.DataFrame({"when": pd.to_datetime(["2026-11-05"], utc=True)}), TypeError, "feature 'when' has datetime64"),
        (pd.DataFrame({"when": pd.to_timedelta(["1h"])}), TypeError, "feature 'when' has timedelta64"),
        (pd.DataFrame({"when": pd.to_datetime([None])}), TypeError, "feature 'when' has datetime64"),
        (pd.DataFrame([[1, 2]]), TypeError, "column 0 is named 0; expected a feature's name"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "feature 'a' stands twice"),
        (
            pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
            TypeError,
            "column 0 is named ('a', 'b')",
        ),
    ],
)
def test_what_no_model_takes_is_refused_by_name(frame: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=re.escape(says)):
        frames.columns_of(frame)


def test_only_frames_are_frames() -> None:
    assert frames.is_frame(pd.DataFrame())
    assert frames.is_series(pd.Series([1]))
    for other in (None, {}, [], np.zeros(3), pd.Series([1]), "pandas"):
        assert not frames.is_frame(other)
    assert frames.is_missing(pd.NA)
    assert not any(map(frames.is_missing, (None, float("nan"), pd.NaT, 0)))


def test_an_answer_is_labelled_as_what_was_sent() -> None:
    sent = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])
    made = frames.build(frames.shape_of(sent), {"score": np.array([0.5, 1.5]), "box": np.zeros((2, 3))})
    assert list(made.index) == ["x", "y"]
    assert made["score"].tolist() == [0.5, 1.5]
    assert [len(cell) for cell in made["box"]] == [3, 3]
    other = frames.build(frames.shape_of(sent), {"score": np.array([0.5])})
    assert list(other.index) == [0], "labels of other rows would mislead"


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert frames.installed("pandas") == "pandas"
    assert frames.installed(None) == "pandas"
    with pytest.raises(ValueError, match="found 'dask'; expected 'pandas' or 'polars'"):
        frames.installed("dask")
    for library in ("pandas", "polars"):
        monkeypatch.delitem(sys.modules, library, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="needs pandas or polars"):
        frames.installed(None)
    with pytest.raises(ModuleNotFoundError, match="needs polars"):
        frames.installed("polars")


def test_polars_frames_are_read_and_made() -> None:
    pl = pytest.importorskip("polars", reason="polars is not among the requirements")
    frame = pl.DataFrame(
        {
            "f": [1.5, None],
            "i": [1, 2],
            "t": ["a", None],
            "v": [[1.0], [2.0]],
            "c": pl.Series(["x", "y"], dtype=pl.Categorical),
        }
    )
    assert frames.is_frame(frame)
    assert frames.columns_of(frame) == {
        "f": [1.5, None],
        "i": [1, 2],
        "t": ["a", None],
        "v": [[1.0], [2.0]],
        "c": ["x", "y"],
    }
    assert frames.shape_of(frame) == frames.Shape("polars")
    made = frames.build(frames.Shape("polars"), {"score": np.array([0.5, 1.5]), "name": np.array(["a", "b"], object)})
    assert made.to_dict(as_series=False) == {"score": [0.5, 1.5], "name": ["a", "b"]}
    with pytest.raises(TypeError, match="feature 'when' has Date"):
        frames.columns_of(pl.DataFrame({"when": pl.Series([None], dtype=pl.Date)}))
    with pytest.raises(TypeError, match=re.escape(".collect()")):
        frames.is_frame(frame.lazy())
    with pytest.raises(TypeError, match="expected a row as a dict"):
        frames.row_of(frame["f"])
