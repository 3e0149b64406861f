"""A coroutine without a task does what it would do within one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from turnout_server.transport.stepper import Stepper

WHERE: ContextVar[str] = ContextVar("WHERE", default="outside")


class Run:
    """Begins a coroutine as `UnaryCall` does, and keeps how it ended."""

    def __init__(self, coroutine: Coroutine[Any, Any, bytes]) -> None:
        self.ends: list[tuple[bytes | None, BaseException | None]] = []
        self.over = asyncio.Event()
        context = copy_context()
        yielded = context.run(coroutine.send, None)
        self.stepper = Stepper(coroutine, context, yielded, self._ended, asyncio.get_running_loop())

    def _ended(self, answer: bytes | None, error: BaseException | None) -> None:
        self.ends.append((answer, error))
        self.over.set()

    async def end(self) -> tuple[bytes | None, BaseException | None]:
        async with asyncio.timeout(30):
            await self.over.wait()
        (end,) = self.ends
        return end


def future() -> asyncio.Future[bytes]:
    return asyncio.get_running_loop().create_future()


async def test_what_is_awaited_is_what_comes_back() -> None:
    first, second = future(), future()

    async def handler() -> bytes:
        return await first + await second

    run = Run(handler())
    second.set_result(b"b")
    first.set_result(b"a")
    assert await run.end() == (b"ab", None)


async def test_an_error_of_a_future_is_raised_where_it_is_awaited() -> None:
    failing = future()

    async def handler() -> bytes:
        try:
            await failing
        except ZeroDivisionError:
            return b"caught"
        return b"not raised"

    run = Run(handler())
    failing.set_exception(ZeroDivisionError())
    assert await run.end() == (b"caught", None)


async def test_an_error_that_nobody_catches_is_how_it_ends() -> None:
    waited, error = future(), ZeroDivisionError()

    async def handler() -> bytes:
        await waited
        raise error

    run = Run(handler())
    waited.set_result(b"")
    assert await run.end() == (None, error)


async def test_giving_others_a_turn_is_no_end() -> None:
    async def handler() -> bytes:
        for _ in range(3):
            await asyncio.sleep(0)
        return b"done"

    assert await Run(handler()).end() == (b"done", None)


async def test_a_task_and_a_lock_can_be_awaited() -> None:
    lock = asyncio.Lock()
    await lock.acquire()

    async def inner() -> bytes:
        async with lock:
            return b"locked"

    async def handler() -> bytes:
        return await asyncio.ensure_future(inner())

    run = Run(handler())
    lock.release()
    assert await run.end() == (b"locked", None)


async def test_its_context_is_its_own_in_every_step() -> None:
    seen: list[str] = []
    waited = future()

    async def handler() -> bytes:
        WHERE.set("inside")
        await waited
        seen.append(WHERE.get())
        await asyncio.sleep(0)
        seen.append(WHERE.get())
        return b""

    run = Run(handler())
    waited.set_result(b"")
    await run.end()
    assert seen == ["inside", "inside"]
    assert WHERE.get() == "outside"


def _already_done(waited: asyncio.Future[bytes]) -> None:
    waited.set_result(b"")


def _not_done(waited: asyncio.Future[bytes]) -> None:
    """It waits."""


@pytest.mark.parametrize("before", [_not_done, _already_done])
async def test_cancelling_raises_in_the_coroutine_even_if_what_it_waits_for_is_done(
    before: Callable[[asyncio.Future[bytes]], None],
) -> None:
    waited = future()
    cleaned_up = []

    async def handler() -> bytes:
        try:
            return await waited
        finally:
            cleaned_up.append(True)

    run = Run(handler())
    before(waited)
    run.stepper.cancel()
    answer, error = await run.end()
    assert answer is None
    assert isinstance(error, asyncio.CancelledError)
    assert cleaned_up == [True]


async def test_cancelling_while_it_gives_others_a_turn_is_not_lost() -> None:
    async def handler() -> bytes:
        await asyncio.sleep(0)
        return b""

    run = Run(handler())
    run.stepper.cancel()
    assert isinstance((await run.end())[1], asyncio.CancelledError)


async def test_a_coroutine_that_cancels_itself_hears_of_it_where_it_waits_next() -> None:
    first, second = future(), future()

    async def handler() -> bytes:
        await first
        run.stepper.cancel()
        try:
            return await second
        except asyncio.CancelledError:
            return b"heard"

    run = Run(handler())
    first.set_result(b"")
    assert await run.end() == (b"heard", None)
    assert second.cancelled()


async def test_who_catches_a_cancellation_goes_on() -> None:
    first, second = future(), future()

    async def handler() -> bytes:
        try:
            await first
        except asyncio.CancelledError:
            return await second
        return b"not cancelled"

    run = Run(handler())
    run.stepper.cancel()
    second.set_result(b"went on")
    assert await run.end() == (b"went on", None)
