"""How calls travel: the seam between the loops and a transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from turnout_server.load.plan import Plan

Done = Callable[[str, bytes | None, float, float], None]
"""Told once how a call ended: `done(code, payload, started, ended)`.

`code` is the gRPC status code's name, `OK` or another. `payload` is the serialised answer of a call that is OK; of
others the status message in UTF-8, or None. `started` and `ended` are `time.perf_counter()` seconds.
"""


class Connection(Protocol):
    """One connection to the target, for calls of the plan's one method."""

    async def open(self) -> None:
        """Connect.

        Raises:
            CallError: the target cannot be reached.
        """

    def call(self, body: bytes, done: Done) -> None:
        """Send one request and return; *done* is called later, from the event loop, and never from within `call`."""

    async def close(self) -> None:
        """Drop what is on its way, whose `done` is never called, and hang up."""


Connect = Callable[[Plan], Connection]


class CallError(Exception):
    """A call that ended with another code than OK, or a target that cannot be reached (UNAVAILABLE)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message or code)
        self.code = code
        """The gRPC status code's name."""
        self.message = message


async def ask(connection: Connection, body: bytes) -> bytes:
    """Send one request and return the answer.

    Raises:
        CallError: it was not answered with OK.
    """
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def done(code: str, payload: bytes | None, started: float, ended: float) -> None:
        if answer.done():
            return
        if code == "OK":
            answer.set_result(payload or b"")
        else:
            answer.set_exception(CallError(code, (payload or b"").decode(errors="replace")))

    connection.call(body, done)
    return await answer
