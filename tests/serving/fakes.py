"""An executor that does nothing until it is told to, and a fake to load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple


class Job(NamedTuple):
    """What was submitted."""

    work: Callable[..., Any]
    args: tuple[Any, ...]
    future: Future[Any]

    def run(self) -> None:
        """Do it now, on this thread."""
        try:
            result = self.work(*self.args)
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class ManualExecutor(Executor):
    """Keeps what `held` says is to be kept until `release`; runs everything else at once."""

    def __init__(self, held: Callable[[tuple[Any, ...]], bool] = lambda args: True) -> None:
        self.jobs: list[Job] = []
        self.held = held
        self.on_submit: Callable[[tuple[Any, ...]], None] = lambda args: None
        self.shut = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.on_submit(args)
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        job = Job(fn, args, future)
        if self.held(args):
            self.jobs.append(job)
        else:
            job.run()
        return future

    def release(self, index: int = 0) -> None:
        """Run one of the jobs that were kept."""
        self.jobs.pop(index).run()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.shut = True


async def turns(count: int = 12) -> None:
    """Let the event loop go round, so that what is due has happened."""
    for _ in range(count):
        await asyncio.sleep(0)
