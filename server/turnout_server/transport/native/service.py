"""What all connections of a server share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from turnout_server.http2.server import Limits
from turnout_server.transport.method import Methods
from turnout_server.transport.native.deadlines import Deadlines

_ROOM: Final = 2
"""How many of the largest messages may be on their way to us on one connection."""


class Service(NamedTuple):
    """What all connections of a server share."""

    loop: asyncio.AbstractEventLoop
    methods: Methods
    deadlines: Deadlines
    max_message_bytes: int
    limits: Limits
    clock: Callable[[], float] = time.monotonic

    @property
    def room(self) -> int:
        """How many bytes of large messages one client may have on their way to us."""
        return self.max_message_bytes * _ROOM
