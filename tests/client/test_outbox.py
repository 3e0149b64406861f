"""An outcome waits until a server has said what became of it, and what is lost is counted and told."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from turnout import errors, outbox, v1
from turnout.outbox import BATCH, Outbox, OutcomeCounts

UNAVAILABLE = errors.UnavailableError("gone", code="UNAVAILABLE")


def made(name: str = "order", **values: Any) -> v1.Outcome:
    told = {"value": 1.0, "unit": "ann", "request_id": None, "outcome_id": None, "time": 1_700_000_000.25}
    return outbox.outcome(name, **(told | values))


def filled(count: int, size: int = 10_000) -> Outbox:
    box = Outbox(size)
    for number in range(count):
        box.add(made(outcome_id=str(number)))
    return box


def ids(batch: list[v1.Outcome]) -> list[str]:
    return [one.outcome_id for one in batch]


def results(batch: list[v1.Outcome], fate: v1.OutcomeFate = v1.OUTCOME_FATE_ACCEPTED) -> list[v1.OutcomeResult]:
    return [v1.OutcomeResult(outcome_id=one.outcome_id, fate=fate, reason="NO_UNIT") for one in batch]


# ---------------------------------------------------------------- outcomes


def test_an_outcome_has_an_id_of_its_own_unless_it_is_given_one() -> None:
    assert made().outcome_id != made().outcome_id != ""
    assert made(outcome_id="order-1").outcome_id == "order-1"


def test_its_time_is_seconds_or_a_moment_with_a_zone() -> None:
    moment = datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)
    assert made().event_time == made(time=moment).event_time == made(time=moment.astimezone()).event_time
    with pytest.raises(ValueError, match="time zone"):
        made(time=moment.replace(tzinfo=None))
    assert made(time=moment + timedelta(microseconds=1)).event_time.nanos == 250_001_000


def test_it_names_a_unit_or_a_request() -> None:
    assert made().WhichOneof("subject") == "unit"
    assert made(unit="", request_id="r").WhichOneof("subject") == "request_id"
    with pytest.raises(ValueError, match="unit or a request_id"):
        made(unit="")


@pytest.mark.parametrize(
    "values", [{"value": math.nan}, {"value": math.inf}, {"unit": 7}, {"outcome_id": 7}, {"name": 7}]
)
def test_what_no_server_would_take_is_refused_at_once(values: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        made(**values)


# ---------------------------------------------------------------- the queue


def test_batches_are_the_oldest_and_stay_until_they_are_settled() -> None:
    box = filled(BATCH + 1)
    first = box.batch()
    assert ids(first) == [str(number) for number in range(BATCH)] == ids(box.batch())
    box.settled(first, results(first))
    assert ids(box.batch()) == [str(BATCH)]
    assert box.counts() == OutcomeCounts(accepted=BATCH, waiting=1)


def test_what_does_not_fit_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "turnout"):
        box = filled(5, size=2)
    assert box.counts() == OutcomeCounts(lost=3, waiting=2)
    assert [record.message for record in caplog.records] == [
        "2 outcomes wait already (outcome_buffer); more are dropped and counted"
    ]


def test_what_must_fit_and_does_not_is_refused() -> None:
    box = Outbox(1, must_fit=True)
    box.add(made())
    with pytest.raises(errors.OverloadedError, match="outcome_buffer"):
        box.add(made())
    assert box.counts() == OutcomeCounts(waiting=1)


@pytest.mark.parametrize("size", [0, -1])
def test_a_queue_has_a_size(size: Any) -> None:
    with pytest.raises(ValueError, match="outcome_buffer"):
        Outbox(size)


def test_a_server_that_is_away_is_asked_again_ever_more_seldom_and_nothing_is_lost() -> None:
    box, rests = filled(1), []
    for _ in range(9):
        box.failed(box.batch(), UNAVAILABLE, now=100.0)
        rests.append(round(box.rest(100.0), 3))
    assert rests == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert box.rest(105.0) == 0.0
    box.failed(box.batch(), errors.OverloadedError("full", retry_after=7.0), now=100.0)
    assert box.rest(100.0) == 7.0
    assert box.counts() == OutcomeCounts(waiting=1)
    assert box.overdue().args == ("full",)


def test_what_a_server_refuses_for_good_is_lost_counted_told_and_raised_once(caplog: pytest.LogCaptureFixture) -> None:
    box = filled(2)
    off = errors.ConflictError("no journal", code="FAILED_PRECONDITION", reason="OUTCOMES_OFF")
    with caplog.at_level(logging.WARNING, "turnout"):
        box.failed(box.batch(), off, 0.0)
    assert "2 outcomes are lost: no journal" in caplog.text
    with pytest.raises(errors.ConflictError):
        box.check()
    assert box.check() == OutcomeCounts(lost=2)


def test_a_batch_that_a_server_fails_on_again_and_again_does_not_stand_in_the_way_for_ever() -> None:
    box = filled(1)
    for _ in range(4):
        box.failed(box.batch(), errors.ServerError("internal", code="INTERNAL"), 0.0)
        assert len(box) == 1
    box.failed(box.batch(), errors.ServerError("internal", code="INTERNAL"), 0.0)
    assert box.counts() == OutcomeCounts(lost=1)


def test_each_reason_of_a_rejection_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    box = filled(3)
    with caplog.at_level(logging.WARNING, "turnout"):
        batch = box.batch()
        box.settled(batch, results(batch, v1.OUTCOME_FATE_REJECTED))
    assert box.check() == OutcomeCounts(rejected=3)
    assert len(caplog.records) == 1


def test_what_was_abandoned_is_lost_and_an_answer_that_comes_later_changes_nothing() -> None:
    box = filled(2)
    batch = box.batch()
    box.abandon()
    box.settled(batch, results(batch))
    box.failed(batch, UNAVAILABLE, 0.0)
    assert box.counts() == OutcomeCounts(lost=2)
    with pytest.raises(ValueError, match="closed"):
        box.add(made())
