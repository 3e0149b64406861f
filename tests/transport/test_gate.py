"""Which calls may come in."""

from __future__ import annotations

import asyncio

import pytest

from turnout_server.transport.gate import Gate, TooManyCallsError
from turnout_server.vocabulary.errors import Kind, ShuttingDownError


async def test_no_more_calls_than_the_limit_and_room_again_when_one_leaves() -> None:
    gate = Gate(2)
    gate.enter()
    gate.enter()
    with pytest.raises(TooManyCallsError) as caught:
        gate.enter()
    assert (caught.value.kind, caught.value.retry_after_s) == (Kind.OVERLOADED, 0.5)
    gate.leave()
    gate.enter()
    assert gate.inside == 2


async def test_one_connection_has_a_share_and_the_others_the_rest() -> None:
    gate = Gate(4, of_one=2)
    gate.enter("a:1")
    gate.enter("a:1")
    with pytest.raises(TooManyCallsError, match="2 of this connection's calls"):
        gate.enter("a:1")
    gate.enter("b:1")
    gate.leave("a:1")
    gate.enter("a:1")
    assert gate.inside == 3


async def test_who_finds_no_room_is_not_counted_as_of_a_connection() -> None:
    gate = Gate(1, of_one=1)
    gate.enter("a:1")
    with pytest.raises(TooManyCallsError, match="1 calls"):
        gate.enter("b:1")
    gate.leave("a:1")
    gate.enter("b:1")


class Everywhere:
    """Two calls may be in progress, by whichever way they come in."""

    def __init__(self) -> None:
        self.calls = 0

    def enter(self) -> bool:
        if self.calls == 2:
            return False
        self.calls += 1
        return True

    def leave(self) -> None:
        self.calls -= 1


async def test_calls_that_come_in_by_other_ways_count() -> None:
    everywhere = Everywhere()
    gate, other = Gate(2, everywhere), Gate(2, everywhere)
    gate.enter()
    other.enter()
    for full in (gate, other):
        with pytest.raises(TooManyCallsError, match="2 calls"):
            full.enter()
    other.leave()
    assert (gate.inside, other.inside, everywhere.calls) == (1, 0, 1)
    gate.enter()


async def test_a_closed_gate_lets_nobody_in() -> None:
    gate = Gate(2)
    gate.close()
    with pytest.raises(ShuttingDownError):
        gate.enter()


async def test_it_is_empty_when_the_last_call_has_left() -> None:
    gate = Gate(2)
    gate.enter()
    waiting = asyncio.create_task(gate.empty(1e6))
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.leave()
    assert await waiting


async def test_without_patience_an_empty_gate_is_empty_and_another_is_not() -> None:
    gate = Gate(2)
    assert await gate.empty(0.0)
    gate.enter()
    assert not await gate.empty(0.0)
