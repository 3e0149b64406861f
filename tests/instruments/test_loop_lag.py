"""How late the event loop is."""

from __future__ import annotations

import asyncio
import threading

from turnout_server.instruments.families import Histogram
from turnout_server.instruments.loop_lag import watching


async def observed(lag: Histogram, count: int) -> None:
    """Wait until *count* observations were made."""
    while sum(lag.read().counts) < count:
        await asyncio.sleep(0)


async def test_the_loop_is_asked_again_and_again_until_the_end() -> None:
    lag = Histogram((10**9,))
    with watching(asyncio.get_running_loop(), lag):
        await observed(lag, 3)
    assert "loop-lag" not in {thread.name for thread in threading.enumerate()}


async def test_what_holds_the_loop_up_shows() -> None:
    """The loop does nothing for as long as it takes for a question to be asked, and then some."""
    lag, loop = Histogram(()), asyncio.get_running_loop()
    asked = threading.Event()
    ask = loop.call_soon_threadsafe

    def call_soon_threadsafe(*args: object) -> object:
        asked.set()
        return ask(*args)  # type: ignore[arg-type]

    loop.call_soon_threadsafe = call_soon_threadsafe  # type: ignore[assignment, method-assign]
    with watching(loop, lag):
        assert asked.wait(10)
        before = lag.read(10**9).sum
        asked.clear()
        assert asked.wait(10)  # the next question, after the loop has been held up for the whole of one interval
        await observed(lag, 2)
        assert lag.read(10**9).sum - before >= 0.075
