"""Where the runners of one process run things."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from turnout_server.scheduling.shares import Shares


@dataclass(slots=True, frozen=True)
class Workers:
    """Where the runners of one process run things."""

    loop: asyncio.AbstractEventLoop
    executor: Executor
    shares: Shares
    """Divides the executor's threads; its versions are runners."""
    alone: Callable[[], bool] = lambda: True
    """Whether the request that is being handled is the only one in the process: then nobody's company is waited for."""
