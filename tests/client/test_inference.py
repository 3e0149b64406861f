"""The outputs of any model, as arrays and as a DataFrame."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

import turnout
from turnout import frames

SERVED = turnout.Served("churn", "control", "churn", 4, "SPLIT")


def answer(like: Any = None, **outputs: Any) -> turnout.Inference:
    return turnout.Inference(outputs, SERVED, None if like is None else frames.shape_of(like))


def test_outputs_are_had_by_name() -> None:
    found = answer(score=np.array([0.5, 1.5], np.float32), label=["a", "b"])
    assert (list(found), len(found), "score" in found) == (["score", "label"], 2, True)
    assert found["label"] == ["a", "b"]
    with pytest.raises(KeyError, match="no output 'scores'; there are score, label"):
        found["scores"]
    with pytest.raises(ValueError, match=re.escape("there are 2 outputs (score, label)")):
        _ = found.output
    assert answer(score=[0.5]).output == [0.5]
    assert found == found
    assert found != answer(score=np.array([0.5, 1.5], np.float32), label=["a", "b"])


def test_a_repr_is_one_short_line() -> None:
    found = answer(score=np.zeros((2, 3), np.float32), label=["a", "b"], total=np.float64(2.5), n=7)
    assert repr(found) == (
        "Inference(score: float32 [2, 3], label: list of 2, total: 2.5, n: 7 by churn/control -> churn 4 (SPLIT))"
    )
    many = repr(answer(**{f"o{number}": [1] for number in range(10)}))
    assert "o7: list of 1, and 2 more by churn" in many


def test_a_frame_has_a_row_for_each_that_was_sent() -> None:
    sent = pd.DataFrame({"age": [30, 40]}, index=[7, 9])
    found = answer(sent, score=np.array([0.5, 1.5]), p=np.array([[1, 2], [3, 4]]), one=np.array([["a"], ["b"]], object))
    frame = found.frame()
    assert frame.to_dict("list") == {"score": [0.5, 1.5], "p_0": [1, 3], "p_1": [2, 4], "one": ["a", "b"]}
    assert list(frame.index) == [7, 9]
    boxes = answer(sent, boxes=np.zeros((2, 1, 4))).frame()
    assert boxes["boxes"].tolist() == [[[0.0] * 4]] * 2


def test_without_a_frame_sent_the_library_is_whichever_is_there() -> None:
    lists = answer(score=[0.5, 1.5], p=[[1, 2], [3, 4]], none=[[], []])
    assert lists.frame("pandas").to_dict("list") == {"score": [0.5, 1.5], "p_0": [1, 3], "p_1": [2, 4]}
    assert isinstance(lists.frame(), pd.DataFrame)
    with pytest.raises(ValueError, match="found 'dask'"):
        lists.frame("dask")


def test_polars_is_answered_with_polars() -> None:
    pl = pytest.importorskip("polars", reason="polars is not among the requirements")
    sent = pl.DataFrame({"age": [30, 40]})
    found = answer(sent, score=np.array([0.5, 1.5]), boxes=np.zeros((2, 1, 2)))
    frame = found.frame()
    assert isinstance(frame, pl.DataFrame)
    assert frame.to_dict(as_series=False) == {"score": [0.5, 1.5], "boxes": [[[0.0, 0.0]]] * 2}
    assert isinstance(found.frame("pandas"), pd.DataFrame)


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"score": [1, 2], "k": [3]}, "output 'k' has 1 rows, others have 2; choose some: outputs=[...]"),
        ({"score": [1, 2], "k": np.float32(3)}, "output 'k' is a single value, others have 2"),
    ],
)
def test_outputs_that_are_no_table_are_refused_by_name(outputs: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        answer(**outputs).frame()
