"""Answers in short."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.tasks.summary import MAX_BYTES, summary
from turnout_server.vocabulary.tensors import BF16_BITS, Arrays, bf16_of


@pytest.mark.parametrize(
    ("task", "outputs", "expected"),
    [
        (
            "recommendation",
            {"item_ids": np.array([["a", "b"]], object), "scores": np.array([[1.5, 0.5]])},
            {"item_ids": ["a", "b"], "scores": [1.5, 0.5]},
        ),
        ("ranking", {"score": np.array([0.5, math.nan, 1.5])}, {"positions": [2, 0, 1], "scores": [1.5, 0.5, "nan"]}),
        (
            "price",
            {"price": np.array([2.0]), "low": np.array([1.0]), "high": np.array([math.inf]), "else": np.zeros(1)},
            {"price": [2.0], "low": [1.0], "high": ["inf"]},
        ),
        ("price", {"cost": np.array([[1]])}, {"cost": {"dtype": "int64", "shape": [1, 1], "values": [1]}}),
        (
            "tensors",
            {"a": np.array(["private"], object)},
            {"a": {"dtype": "object", "shape": [1], "values": []}},
        ),
        (
            "tensors",
            {"b": bf16_of(np.array([[1.5, -2.0]])).view(BF16_BITS), "u": np.array([16320], np.uint16)},
            {
                "b": {"dtype": "bfloat16", "shape": [1, 2], "values": [1.5, -2.0]},
                "u": {"dtype": "uint16", "shape": [1], "values": [16320]},
            },
        ),
        ("tensors", {}, {}),
    ],
)
def test_it_shows_what_the_task_is_about(task: str, outputs: Arrays, expected: object) -> None:
    assert json.loads(summary(task, outputs)) == expected


@given(
    task=st.sampled_from(["recommendation", "ranking", "price", "tensors"]),
    names=st.lists(st.text(max_size=300), max_size=40, unique=True),
    ids=st.lists(st.text(max_size=300), max_size=30),
)
def test_it_is_short_whatever_there_is(task: str, names: list[str], ids: list[str]) -> None:
    outputs: dict[str, np.ndarray] = {name: np.full(20, 1 / 3) for name in names}
    if task == "recommendation":
        outputs |= {"item_ids": np.array([ids], object), "scores": np.full((1, len(ids)), -1 / 3)}
    text = summary(task, outputs)
    assert len(text.encode()) <= MAX_BYTES
    json.loads(text)
