"""Many requests of one stream under way at once, answered in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


async def answered_in_order(
    requests: AsyncIterator[Request], answer: Callable[[Request], Awaitable[Answer]], limit: int
) -> AsyncGenerator[Answer, None]:
    """Yield the answer to each of *requests*, in order.

    Up to *limit* requests are under way or have an answer that nobody has taken; no more are read until one is taken.
    Closing the generator, or cancelling who waits for it, cancels what is under way. *requests* is closed at the end.

    Raises:
        Exception: what *answer* or *requests* raised, in its place in the order.
    """
    room = asyncio.Semaphore(limit)
    under_way: asyncio.Queue[asyncio.Future[Answer] | None] = asyncio.Queue()
    everything: deque[asyncio.Future[Answer]] = deque()

    async def read() -> None:
        try:
            await room.acquire()
            async for request in requests:
                future = asyncio.ensure_future(answer(request))
                everything.append(future)
                under_way.put_nowait(future)
                await room.acquire()
        finally:
            under_way.put_nowait(None)
            if isinstance(requests, AsyncGenerator):
                await requests.aclose()

    reader = asyncio.create_task(read())
    try:
        while (future := await under_way.get()) is not None:
            done = await future
            everything.popleft()
            yield done
            room.release()
        await reader
    finally:
        reader.cancel()
        for future in everything:
            future.cancel()
        await asyncio.gather(reader, *everything, return_exceptions=True)
