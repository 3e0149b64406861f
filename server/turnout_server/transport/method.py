"""What a transport needs of a method: bytes in, bytes out, and how it may end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from turnout_server.transport.call import Call
from turnout_server.transport.gate import Gate
from turnout_server.transport.status import Status
from turnout_server.transport.values import Shape


class CallFailed(Exception):  # noqa: N818 - it is a call's end, as told to a transport, and no error of ours
    """The call ends with a status that is not OK."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


class Method(Protocol):
    """One method. Messages are bytes here, on both sides."""

    client_streaming: bool
    server_streaming: bool
    quick: bool
    """Whether `unary` may be run without a task of its own: what it awaits are futures, and it does nothing that needs
    `asyncio.current_task`, as `asyncio.timeout` does."""
    shape: Shape
    """What its callers' messages consist of."""

    @property
    def gate(self) -> Gate:
        """What the method's calls go in and out by."""

    async def unary(self, raw: bytes, call: Call) -> bytes:
        """Answer one message with one.

        Raises:
            CallFailed: it was not answered.
        """

    def stream(self, raw: bytes | AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
        """Yield the answers to a message or, where clients stream too, to an iterator of messages.

        Raises:
            CallFailed: not everything was answered.
        """


Methods = dict[str, Method]
"""Every method by its path (`package.Service/Method`)."""
