"""`turnout.v1.OutcomeService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future

from turnout.v1 import outcome_service_pb2 as pb
from turnout_server.outcomes.outcome import Fate, Outcome, Result
from turnout_server.transport.call import Call
from turnout_server.vocabulary.errors import InvalidRequestError, OutcomesOffError

MOST_OUTCOMES = 1000
"""Outcomes in one message."""
Take = Callable[[Sequence[Outcome]], "Future[list[Result]]"]
"""Keeps outcomes, and says what became of each; see `Intake.take`."""
_FATES = {
    Fate.ACCEPTED: pb.OUTCOME_FATE_ACCEPTED,
    Fate.DUPLICATE: pb.OUTCOME_FATE_DUPLICATE,
    Fate.REJECTED: pb.OUTCOME_FATE_REJECTED,
}


class OutcomeService:
    """Takes what units did after they were served."""

    def __init__(self, take: Take | None) -> None:
        """Keep outcomes by *take*; None where none are kept."""
        self._take = take

    async def Record(self, request: pb.RecordRequest, call: Call) -> pb.RecordResponse:
        """Keep outcomes, and say of each what became of it."""
        return pb.RecordResponse(results=await self._record(request.outcomes))

    async def RecordStream(
        self, requests: AsyncIterator[pb.RecordStreamRequest], call: Call
    ) -> AsyncIterator[pb.RecordStreamResponse]:
        """Do the same for each message of a stream."""
        async for request in requests:
            yield pb.RecordStreamResponse(results=await self._record(request.outcomes))

    async def _record(self, outcomes: Sequence[pb.Outcome]) -> Iterable[pb.OutcomeResult]:
        if self._take is None:
            raise OutcomesOffError
        if len(outcomes) > MOST_OUTCOMES:
            raise InvalidRequestError(f"outcomes: {len(outcomes)} of them; at most {MOST_OUTCOMES} are allowed")
        results = await asyncio.wrap_future(self._take(list(map(_outcome, outcomes))))
        return map(_result, outcomes, results)


def _outcome(message: pb.Outcome) -> Outcome:
    when = message.event_time
    event_us = when.seconds * 1_000_000 + when.nanos // 1000 if message.HasField("event_time") else None
    return Outcome(message.outcome_id, message.unit, message.request_id, event_us, message.name, message.value)


def _result(message: pb.Outcome, result: Result) -> pb.OutcomeResult:
    return pb.OutcomeResult(
        outcome_id=message.outcome_id, fate=_FATES[result.fate], reason=result.reason, message=result.message
    )
