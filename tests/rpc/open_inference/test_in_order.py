"""Answers come in the order of their requests, however long each takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import pytest

from turnout_server.rpc.open_inference.in_order import Room, answered_in_order


class Source:
    """A stream of requests that can be watched."""

    def __init__(self, *items: int, error: Exception | None = None, endless: bool = False) -> None:
        self.items = items
        self.error = error
        self.endless = endless
        self.read = 0
        self.closed = False

    async def requests(self) -> AsyncIterator[int]:
        try:
            for item in self.items:
                self.read += 1
                yield item
            if self.error is not None:
                raise self.error
            if self.endless:
                await asyncio.Event().wait()
        finally:
            self.closed = True


class Work:
    """Answers that come when they are told to."""

    def __init__(self) -> None:
        self.gates: dict[int, asyncio.Future[None]] = {}
        self.cancelled: list[int] = []

    async def answer(self, request: int) -> int:
        self.gates[request] = asyncio.get_running_loop().create_future()
        try:
            await self.gates[request]
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        return request * 10


def in_order(
    requests: AsyncIterator[int], answer: Callable[[int], Awaitable[int]], limit: int, nbytes: int = 1_000
) -> AsyncGenerator[int, None]:
    """Answer requests whose numbers are their sizes."""
    return answered_in_order(requests, answer, int, Room(limit, nbytes))


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_first_request_is_answered_first() -> None:
    source, work = Source(1, 2, 3), Work()

    async def collect() -> list[int]:
        return [answer async for answer in in_order(source.requests(), work.answer, 3)]

    collecting = asyncio.create_task(collect())
    await settle()
    assert sorted(work.gates) == [1, 2, 3]
    for request in (3, 2, 1):
        work.gates[request].set_result(None)
        await settle()
    assert await collecting == [10, 20, 30]
    assert source.closed


async def test_no_more_is_read_than_there_is_room_for() -> None:
    source, work = Source(*range(10)), Work()
    answers = in_order(source.requests(), work.answer, 3)
    first = asyncio.ensure_future(anext(answers))
    await settle()
    assert source.read == 3
    for request in range(3):
        work.gates[request].set_result(None)
    assert await first == 0
    await settle()
    assert source.read == 3, "an answer that is not sent yet holds its place"
    assert await anext(answers) == 10
    await settle()
    assert source.read == 4
    await answers.aclose()


async def test_large_requests_take_the_place_of_several() -> None:
    source, work = Source(60, 50, 200, 1, 2), Work()
    answers = in_order(source.requests(), work.answer, 16, nbytes=100)
    for number, under_way in ((60, [60, 50]), (50, [60, 50, 200]), (200, [60, 50, 200])):
        following = asyncio.ensure_future(anext(answers))
        await settle()
        assert list(work.gates) == under_way
        work.gates[number].set_result(None)
        assert await following == number * 10
    following = asyncio.ensure_future(anext(answers))
    await settle()
    assert list(work.gates) == [60, 50, 200, 1, 2]
    work.gates[1].set_result(None)
    assert await following == 10
    await answers.aclose()


async def test_closing_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    source, work = Source(1, 2, 3, endless=True), Work()
    answers = in_order(source.requests(), work.answer, 16)
    first = asyncio.ensure_future(anext(answers))
    await settle()
    work.gates[1].set_result(None)
    assert await first == 10
    await answers.aclose()
    assert sorted(work.cancelled) == [2, 3]
    assert source.closed
    assert asyncio.all_tasks() == before


async def test_closing_closes_a_stream_that_nobody_was_reading() -> None:
    source, work = Source(1, 2, endless=True), Work()
    requests = source.requests()
    answers = in_order(requests, work.answer, 1)
    first = asyncio.ensure_future(anext(answers))
    await settle()
    work.gates[1].set_result(None)
    await first
    await answers.aclose()
    assert source.read == 1
    assert source.closed


async def test_cancelling_who_waits_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    source, work = Source(1, 2, endless=True), Work()

    async def consume() -> None:
        async for _ in in_order(source.requests(), work.answer, 16):
            pass

    consuming = asyncio.create_task(consume())
    await settle()
    consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consuming
    await settle()
    assert sorted(work.cancelled) == [1, 2]
    assert source.closed
    assert asyncio.all_tasks() == before


async def test_a_broken_stream_is_reported_after_what_came_before() -> None:
    source, work = Source(1, error=ValueError("broken")), Work()
    answers = in_order(source.requests(), work.answer, 16)
    first = asyncio.ensure_future(anext(answers))
    await settle()
    work.gates[1].set_result(None)
    assert await first == 10
    with pytest.raises(ValueError, match="broken"):
        await anext(answers)


async def test_a_failing_answer_ends_the_stream_in_its_place() -> None:
    before = asyncio.all_tasks()
    source, work = Source(1, 2, 3, endless=True), Work()
    answers = in_order(source.requests(), work.answer, 16)
    first = asyncio.ensure_future(anext(answers))
    await settle()
    work.gates[2].set_exception(ValueError("failed"))
    await settle()
    work.gates[1].set_result(None)
    assert await first == 10
    with pytest.raises(ValueError, match="failed"):
        await anext(answers)
    assert work.cancelled == [3]
    assert asyncio.all_tasks() == before
