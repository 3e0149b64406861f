"""The page about shadow comparison agrees with the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from turnout_server.gateway import shadow
from turnout_server.instruments.shadow import COMPARED, UNCOMPARED
from turnout_server.tasks.comparison import TOO_LARGE, UNLIKE, compare
from turnout_server.tasks.summary import summary
from turnout_server.vocabulary.record import Comparison
from turnout_server.vocabulary.tensors import Arrays

PAGE = (Path(__file__).parents[2] / "docs" / "shadow.md").read_text(encoding="utf-8")


def test_the_example_is_what_comes_out() -> None:
    *answers, expected = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.S))
    one, other = (outputs(answer) for answer in answers)
    found = {name: value for name, value in compare("recommendation", one, other)._asdict().items() if value != ""}
    assert {name: value for name, value in found.items() if value is not None} == expected
    assert json.loads(summary("recommendation", one)) == answers[0]


def outputs(answer: dict[str, list[object]]) -> Arrays:
    return {"item_ids": np.array([answer["item_ids"]], object), "scores": np.array([answer["scores"]], np.float64)}


def test_every_measure_and_outcome_has_its_row() -> None:
    rows = {row.split("|")[1].strip().strip("`") for row in PAGE.splitlines() if row.startswith("| ")}
    assert set(Comparison._fields) - {"note"} <= rows
    assert {COMPARED, UNCOMPARED, UNLIKE, TOO_LARGE, shadow.BUSY, shadow.CLOSING, shadow.FAILED} <= rows
