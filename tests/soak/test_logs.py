"""Errors in the log are problems, unless the keeper of the store is to blame for them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.soak import logs
from tests.soak.keeper import Outage
from tests.soak.shelf import Shelf

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
OUTAGE = Outage(NOON, NOON + timedelta(seconds=1))
AWAY = "the store cannot be read; what is loaded goes on serving"
FAILED = "version cannot be served"


@pytest.fixture
def shelf() -> Shelf:
    shelf = Shelf()
    shelf.add("table", 1)
    shelf.broken["table"].add(2)
    return shelf


def line(event: str, level: str = "error", after_s: float = 0.5, **fields: Any) -> str:
    at = NOON + timedelta(seconds=after_s)
    return json.dumps({"timestamp": at.isoformat(), "level": level, "event": event, **fields}) + "\n"


@pytest.mark.parametrize(
    "log",
    [
        line("version available", "info", model="table", version=1),
        line("the table is wrong", "warning"),
        line(AWAY),
        line(FAILED, model="table", version=2, after_s=1e6),
        line(FAILED, model="table", version=1),
        line("logged again", what=FAILED, count=3, model="table", version=2, after_s=1e6),
        line("logged again", what=AWAY, count=1, after_s=70),
    ],
)
def test_what_is_the_keeper_s_doing_is_no_problem(log: str, shelf: Shelf) -> None:
    assert logs.check(log, shelf, [OUTAGE]) == []


@pytest.mark.parametrize(
    "log",
    [
        "Fatal: no JSON\n",
        line("call failed"),
        line("connection failed", "critical"),
        line(AWAY, after_s=-1),
        line(AWAY, after_s=60),
        line(FAILED, model="table", version=1, after_s=60),
        line(FAILED, model="wide", version=2, after_s=60),
        line("logged again", what="call failed", count=3),
        line("logged again", what=AWAY, count=1, after_s=80),
        line(FAILED, model="table", version=2, exception=[{"exc_type": "KeyError"}]),
        line("odd", "info", exception=[{"exc_type": "KeyError"}]),
    ],
)
def test_everything_else_is(log: str, shelf: Shelf) -> None:
    assert len(logs.check(line("fine", "info") + log, shelf, [OUTAGE])) == 1


def test_unloaded_versions_are_found_as_often_as_they_were() -> None:
    gone = line("version unloaded", "info", model="table", version=1)
    assert (
        logs.unloaded(gone + line("version available", "info", model="table", version=1) + gone) == [("table", 1)] * 2
    )
