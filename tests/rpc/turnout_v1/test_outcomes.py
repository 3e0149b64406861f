"""OutcomeService hands outcomes on as they came, and says of each what became of it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from tests.rpc.turnout_v1.typed_fakes import FakeCall
from turnout import v1 as pb
from turnout_server.outcomes.outcome import ACCEPTED, CONTENT_DIFFERS, DUPLICATE, Outcome, Result
from turnout_server.rpc.turnout_v1.outcomes import MOST_OUTCOMES, OutcomeService
from turnout_server.vocabulary.errors import InvalidRequestError, OutcomesOffError, OutcomesUnavailableError

CALL = FakeCall()


class Keeping:
    """Keeps what it is given, and answers with *results* in turn."""

    def __init__(self, *results: Result) -> None:
        self.taken: list[Outcome] = []
        self._results = iter(results)

    def take(self, outcomes: Sequence[Outcome]) -> Future[list[Result]]:
        self.taken += outcomes
        answer: Future[list[Result]] = Future()
        answer.set_result([next(self._results) for _ in outcomes])
        return answer


def order(outcome_id: str, **fields: Any) -> pb.Outcome:
    message = pb.Outcome(outcome_id=outcome_id, name="order", value=2.5, **fields)
    message.event_time.FromMicroseconds(1_795_000_000_123_456)
    return message


async def test_outcomes_come_as_they_were_sent() -> None:
    keeping = Keeping(ACCEPTED, ACCEPTED, ACCEPTED)
    untimed = pb.Outcome(outcome_id="c", value=math.nan)
    await OutcomeService(keeping.take).Record(
        pb.RecordRequest(outcomes=[order("a", unit="ann"), order("b", request_id="r-1"), untimed]), CALL
    )
    assert keeping.taken[:2] == [
        Outcome("a", "ann", "", 1_795_000_000_123_456, "order", 2.5),
        Outcome("b", "", "r-1", 1_795_000_000_123_456, "order", 2.5),
    ]
    assert keeping.taken[2]._replace(value=0.0) == Outcome("c", "", "", None, "", 0.0)
    assert math.isnan(keeping.taken[2].value)


async def test_every_fate_is_told_with_its_reason_in_the_order_of_the_outcomes() -> None:
    service = OutcomeService(Keeping(ACCEPTED, DUPLICATE, CONTENT_DIFFERS).take)
    answer = await service.Record(pb.RecordRequest(outcomes=map(order, "abc")), CALL)
    assert list(answer.results) == [
        pb.OutcomeResult(outcome_id="a", fate=pb.OUTCOME_FATE_ACCEPTED),
        pb.OutcomeResult(outcome_id="b", fate=pb.OUTCOME_FATE_DUPLICATE),
        pb.OutcomeResult(
            outcome_id="c",
            fate=pb.OUTCOME_FATE_REJECTED,
            reason="CONTENT_DIFFERS",
            message=CONTENT_DIFFERS.message,
        ),
    ]


async def test_a_stream_is_answered_message_by_message() -> None:
    async def messages() -> AsyncIterator[pb.RecordStreamRequest]:
        yield pb.RecordStreamRequest(outcomes=[order("a"), order("b")])
        yield pb.RecordStreamRequest()
        yield pb.RecordStreamRequest(outcomes=[order("a")])

    service = OutcomeService(Keeping(ACCEPTED, ACCEPTED, DUPLICATE).take)
    answers = [answer async for answer in service.RecordStream(messages(), CALL)]
    assert [[one.outcome_id for one in answer.results] for answer in answers] == [["a", "b"], [], ["a"]]


async def test_a_message_has_a_thousand_at_the_most() -> None:
    keeping = Keeping(*[ACCEPTED] * MOST_OUTCOMES)
    service = OutcomeService(keeping.take)
    with pytest.raises(InvalidRequestError, match="1001 of them; at most 1000"):
        await service.Record(pb.RecordRequest(outcomes=[order("a")] * (MOST_OUTCOMES + 1)), CALL)
    assert keeping.taken == []
    answer = await service.Record(pb.RecordRequest(outcomes=[order("a")] * MOST_OUTCOMES), CALL)
    assert len(answer.results) == MOST_OUTCOMES


async def test_without_a_journal_the_setting_is_named() -> None:
    with pytest.raises(OutcomesOffError, match=r"journal\.path"):
        await OutcomeService(None).Record(pb.RecordRequest(outcomes=[order("a")]), CALL)


async def test_what_cannot_be_kept_is_refused_whole() -> None:
    def take(outcomes: Sequence[Outcome]) -> Future[list[Result]]:
        answer: Future[list[Result]] = Future()
        answer.set_exception(OutcomesUnavailableError("full"))
        return answer

    with pytest.raises(OutcomesUnavailableError):
        await OutcomeService(take).Record(pb.RecordRequest(outcomes=[order("a")]), CALL)
