"""Many requests of one stream under way at once, answered in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import NamedTuple, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Room(NamedTuple):
    """How much of a stream may be under way at once."""

    requests: int
    nbytes: int
    """Bytes of requests; the one that passes this is the last that is read, so that one of any size is answered."""


async def answered_in_order(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Answer]],
    nbytes: Callable[[Request], int],
    room: Room,
) -> AsyncGenerator[Answer, None]:
    """Yield the answer to each of *requests*, in order.

    While there is no *room* for what is under way, or has an answer that nobody has taken, no more are read. Closing
    the generator, or cancelling who waits for it, cancels what is under way. *requests* is closed at the end.

    Args:
        requests: what is to be answered.
        answer: answers one.
        nbytes: says how large one is, in bytes.
        room: how much may be under way.

    Raises:
        Exception: what *answer* or *requests* raised, in its place in the order.
    """
    under_way: asyncio.Queue[asyncio.Future[Answer] | None] = asyncio.Queue()
    everything: deque[asyncio.Future[Answer]] = deque()
    sizes: deque[int] = deque()
    taken = asyncio.Event()

    async def read() -> None:
        try:
            async for request in requests:
                future = asyncio.ensure_future(answer(request))
                everything.append(future)
                sizes.append(nbytes(request))
                under_way.put_nowait(future)
                del request, future  # its answer may be taken while the next one is waited for
                while len(sizes) >= room.requests or sum(sizes) >= room.nbytes:
                    taken.clear()
                    await taken.wait()
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
            sizes.popleft()
            taken.set()
        await reader
    finally:
        reader.cancel()
        for future in everything:
            future.cancel()
        await asyncio.gather(reader, *everything, return_exceptions=True)
