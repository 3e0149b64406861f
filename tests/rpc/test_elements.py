"""What every gateway has around its methods, element by element."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rpc.inference import FakeCall
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.instruments import Instruments
from turnout_server.rpc.chain import OK, Chain, End, Passage
from turnout_server.rpc.elements import Admit, Count, Trace
from turnout_server.transport.gate import Gate, TooManyCallsError


def rpcs(instruments: Instruments) -> dict[Any, int]:
    (family,) = [one for one in instruments.families() if one.name == "rpc.server.call.duration"]
    return {labels: sum(value.counts) for labels, value in family.points}  # type: ignore[union-attr]


async def test_a_call_that_is_refused_is_counted_and_leaves_nothing_behind() -> None:
    instruments, gate = Instruments(), Gate(1)
    chain = Chain("a.B/C", (Trace(Spans()), Count(instruments), Admit(gate)))
    first, second = Passage(chain, FakeCall()), Passage(chain, FakeCall())
    first.enter()
    with pytest.raises(TooManyCallsError):
        second.enter()
    second.leave(End("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS"))
    assert (instruments.in_flight, gate.inside) == (1, 1)
    first.leave(OK)
    assert (instruments.in_flight, gate.inside) == (0, 0)
    assert rpcs(instruments) == {("a.B/C", "RESOURCE_EXHAUSTED"): 1, ("a.B/C", "OK"): 1}
