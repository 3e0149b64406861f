"""What goes on beside the calls goes on, whatever it raises."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs

from turnout_server.background import first_of, in_background, kept_going


async def test_a_task_that_ends_by_an_error_shows_and_is_begun_again() -> None:
    began = 0
    restarts: list[str] = []
    going = asyncio.Event()

    async def work() -> None:
        nonlocal began
        began += 1
        if began < 3:
            raise ValueError
        going.set()
        await asyncio.Event().wait()

    with capture_logs() as logged:
        task = asyncio.create_task(kept_going("store", work, restarts.append, 0))
        await going.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert (began, restarts) == (3, ["store", "store"])
    assert [(one["event"], one["log_level"], one["task"]) for one in logged] == 2 * [
        ("a task ended by an error; it is started again", "error", "store")
    ]


async def test_what_goes_on_in_the_background_ends_with_its_context() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with in_background("store", work, lambda name: None):
        await asyncio.sleep(0)
        assert not ended.is_set()
    assert ended.is_set()


async def test_of_several_the_first_one_counts_and_the_others_end() -> None:
    other = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            other.set()

    async def fails() -> None:
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        await first_of(waits(), fails())
    await asyncio.sleep(0)
    assert other.is_set()
