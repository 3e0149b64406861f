"""The same is logged once a minute, and counted."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
import structlog

from turnout_server.telemetry.logs import logging_to_stderr
from turnout_server.telemetry.repetitions import EVERY_S, Repetitions
from turnout_server.vocabulary.errors import ModelFailedError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(level: int = logging.ERROR, logger: str = "t", **fields: Any) -> logging.LogRecord:
    event = {"event": "call failed", **fields}
    return logging.LogRecord(logger, level, "", 0, event, (), None)  # type: ignore[arg-type]


def failed(model: str, version: int) -> ModelFailedError:
    try:
        raise ModelFailedError(model, version)
    except ModelFailedError as error:
        return error


def test_the_first_is_shown_and_the_others_are_counted() -> None:
    clock = Clock()
    seldom = Repetitions(clock)
    shown = [seldom.filter(record(trace_id=str(number), model="a")) for number in range(100)]
    assert (shown.count(True), seldom.left_out, seldom.due()) == (1, 99, [])
    clock.now = EVERY_S
    ((logger, level, event, count, fields),) = seldom.due()
    assert (logger, level, event, count, fields["model"]) == ("t", logging.ERROR, "call failed", 99, "a")
    assert seldom.filter(record(model="a"))


def test_a_count_that_nobody_asked_for_goes_on() -> None:
    clock = Clock()
    seldom = Repetitions(clock)
    for moment in (0, 1, EVERY_S, EVERY_S + 1):
        clock.now = moment
        seldom.filter(record())
    assert [one.times for one in seldom.due(all_of_them=True)] == [2]


def test_versions_fields_and_kinds_of_errors_differ() -> None:
    seldom = Repetitions(Clock())
    kinds = [
        {"exc_info": failed("a", 1)},
        {"exc_info": failed("a", 2)},
        {"exc_info": failed("b", 1)},
        {"exc_info": ValueError("x")},
        {"exc_info": KeyError("x")},
        {"model": "a"},
        {"model": "b"},
        {},
    ]
    assert all(seldom.filter(record(**fields)) for fields in kinds)
    assert not any(seldom.filter(record(**fields)) for fields in kinds)


def test_what_an_error_says_makes_no_other_of_it_unless_it_is_ours() -> None:
    """It may be the caller's text."""
    seldom = Repetitions(Clock())
    assert [seldom.filter(record(exc_info=ValueError(text))) for text in "abc"] == [True, False, False]


def test_different_ones_are_bounded() -> None:
    seldom = Repetitions(Clock(), most_kinds=160)
    shown = [seldom.filter(record(path=str(number))) for number in range(1000)]
    assert shown.count(True) == 11
    (others,) = seldom.due(all_of_them=True)
    assert (others.event, others.times) == ("call failed", 989)
    assert seldom.filter(record(path="2"))


def test_all_events_together_are_bounded() -> None:
    seldom = Repetitions(Clock(), most_kinds=160)
    shown = [seldom.filter(record(event=str(number), logger=str(number))) for number in range(1000)]
    assert shown.count(True) == 161
    assert sum(one.times for one in seldom.due(all_of_them=True)) == 839


def test_a_flood_hides_nothing_new_of_others() -> None:
    seldom = Repetitions(Clock(), most_kinds=160)
    for number in range(1000):
        seldom.filter(record(path=str(number)))
    assert seldom.filter(record(event="something else"))
    for number in range(1000):
        seldom.filter(record(event=str(number)))
    assert seldom.filter(record(event="of another", logger="u"))


def test_what_was_a_warning_and_an_error_is_counted_as_an_error() -> None:
    seldom = Repetitions(Clock(), most_kinds=16)
    for number, level in enumerate((logging.WARNING, logging.WARNING, logging.ERROR, logging.WARNING)):
        seldom.filter(record(level, path=str(number)))
    assert [one.level for one in seldom.due(all_of_them=True)] == [logging.ERROR]


def test_what_is_no_warning_is_always_shown() -> None:
    seldom = Repetitions(Clock())
    assert all(seldom.filter(record(level=logging.INFO)) for _ in range(10))


def test_a_count_is_shown_whatever_fields_there_are() -> None:
    log = io.StringIO()
    with logging_to_stderr("info", "json", log):
        for _ in range(3):
            structlog.get_logger("t").warning("lost", count=7, what="lines")
    assert [json.loads(line)["count"] for line in log.getvalue().splitlines()] == [7, 2]


def test_the_log_has_one_traceback_and_a_count() -> None:
    log = io.StringIO()
    with logging_to_stderr("info", "json", log):
        for _ in range(500):
            structlog.get_logger("t").error("call failed", method="a.B/C", exc_info=failed("price", 3))
    first, count = map(json.loads, log.getvalue().splitlines())
    assert (first["event"], first["exception"][0]["exc_type"]) == ("call failed", "ModelFailedError")
    assert (count["event"], count["what"], count["count"], count["method"]) == (
        "logged again",
        "call failed",
        499,
        "a.B/C",
    )


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_who_is_shown_an_event_is_shown_its_count(level: str) -> None:
    log = io.StringIO()
    with logging_to_stderr(level, "json", log):  # type: ignore[arg-type]
        for _ in range(3):
            structlog.get_logger("t").error("lost")
            structlog.get_logger("t").warning("slow")
    counts = [json.loads(line) for line in log.getvalue().splitlines() if "logged again" in line]
    shown = [("error", "lost", 2), ("warning", "slow", 2)][: 1 if level == "error" else 2]
    assert [(one["level"], one["what"], one["count"]) for one in counts] == shown
    assert not [key for one in counts for key in one if key[0] == "_"]
