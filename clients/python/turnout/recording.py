"""How clients send outcomes: in the background, many at once, and again until a server has them."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import time as clock
import weakref
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from turnout import calls, errors, outbox, v1
from turnout.calls import Call
from turnout.outbox import BATCH, LINGER_S, Outbox, OutcomeCounts
from turnout.settings import Settings

CLOSE_S = 5.0
"""How long a client that is closed, or a process that ends, gives outcomes to be acknowledged, in seconds."""
Results = Sequence[v1.OutcomeResult]


class Recorder:
    """Sends what an outbox has, from a thread that lives as long as something waits."""

    def __init__(self, box: Outbox, send: Callable[[Call[Results], float | None], Results]) -> None:
        """Send what is in *box* by *send*, which is given seconds, or None for the client's own timeout."""
        self._box = box
        self._send = send
        self._sending = threading.Lock()
        self._starting = threading.Lock()
        self._is_running = False
        self._hurry = threading.Event()

    @property
    def waits(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._box)

    def add(self, outcome: v1.Outcome) -> None:
        """Have one sent.

        Raises:
            OverloadedError: there is no room for it, and it must fit.
        """
        self._box.add(outcome)
        if len(self._box) >= BATCH:
            self._hurry.set()
        with self._starting:
            if not self._is_running:
                self._is_running = True
                _open.add(self)
                threading.Thread(target=self._work, name="turnout-outcomes", daemon=True).start()

    def flush(self, timeout: float) -> OutcomeCounts:
        """Send all that waits now, and return what became of all so far.

        Raises:
            TurnoutError: not all were acknowledged within *timeout* seconds, or a server would not have them.
        """
        ends, mark = clock.monotonic() + timeout, self._box.added
        while self._box.ended < mark:
            now = clock.monotonic()
            if now >= ends:
                raise self._box.overdue()
            clock.sleep(min(self._box.rest(now), ends - now))
            if self._sending.acquire(timeout=max(ends - clock.monotonic(), 0.0)):
                try:
                    if self._box.ended < mark and not self._box.rest(clock.monotonic()):
                        self._send_batch(max(ends - clock.monotonic(), 0.001))
                finally:
                    self._sending.release()
        return self._box.check()

    def close(self, within_s: float | None = None) -> None:
        """Send all that waits, within so many seconds, `CLOSE_S` if None; what is left then is lost, and counted."""
        with contextlib.suppress(errors.TurnoutError):  # the log has it
            self.flush(CLOSE_S if within_s is None else within_s)
        self._box.abandon()
        self._hurry.set()

    def _work(self) -> None:
        while True:
            self._hurry.wait(LINGER_S)
            clock.sleep(self._box.rest(clock.monotonic()))
            with self._sending:
                if not self._box.rest(clock.monotonic()):
                    self._send_batch(None)
            if len(self._box) < BATCH:
                self._hurry.clear()
            with self._starting:
                if not self._box:
                    self._is_running = False
                    return

    def _send_batch(self, timeout: float | None) -> None:
        batch = self._box.batch()
        if not batch:
            return
        try:
            results = self._send(calls.record(batch), timeout)
        except errors.TurnoutError as error:
            self._box.failed(batch, error, clock.monotonic())
        else:
            self._box.settled(batch, results)


class AsyncRecorder:
    """The same in a task. One event loop."""

    def __init__(
        self,
        box: Outbox,
        send: Callable[[Call[Results], float | None], Awaitable[Results]],
        send_last: Callable[[Call[Results], float | None], Results],
    ) -> None:
        """Send what is in *box* by *send*, and by *send_last*, which blocks, when the process ends."""
        self._box = box
        self._send = send
        self._send_last = send_last
        self._sending = asyncio.Lock()
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waits(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._box)

    def add(self, outcome: v1.Outcome) -> None:
        """Have one sent; see `Recorder.add`."""
        self._box.add(outcome)
        if len(self._box) >= BATCH:
            self._hurry.set()
        if self._task is None or self._task.done():
            _open.add(self)
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._work())

    async def flush(self, timeout: float) -> OutcomeCounts:
        """Send all that waits now, and return what became of all so far; see `Recorder.flush`."""
        ends, mark = clock.monotonic() + timeout, self._box.added
        try:
            async with asyncio.timeout(timeout):
                while self._box.ended < mark:
                    await asyncio.sleep(self._box.rest(clock.monotonic()))
                    async with self._sending:
                        if self._box.ended < mark and not self._box.rest(clock.monotonic()):
                            await self._send_batch(max(ends - clock.monotonic(), 0.001))
        except TimeoutError:
            raise self._box.overdue() from None
        return self._box.check()

    async def close(self) -> None:
        """Send all that waits, for `CLOSE_S` seconds at most; what is left then is lost, and counted."""
        with contextlib.suppress(errors.TurnoutError):  # the log has it
            await self.flush(CLOSE_S)
        self._box.abandon()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def end(self, within_s: float) -> None:
        """Hear that the process ends: send what waits without an event loop, within so many seconds.

        A loop that still runs, in a thread that nobody waits for, may be sending the same; then what waits is lost.
        """
        if self._loop is not None and not self._loop.is_running():
            Recorder(self._box, self._send_last).close(within_s)
        else:
            self._box.abandon()

    async def _work(self) -> None:
        while self._box:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), LINGER_S)
            await asyncio.sleep(self._box.rest(clock.monotonic()))
            async with self._sending:
                if not self._box.rest(clock.monotonic()):
                    await self._send_batch(None)
            if len(self._box) < BATCH:
                self._hurry.clear()

    async def _send_batch(self, timeout: float | None) -> None:
        batch = self._box.batch()
        if not batch:
            return
        try:
            results = await self._send(calls.record(batch), timeout)
        except errors.TurnoutError as error:
            self._box.failed(batch, error, clock.monotonic())
        else:
            self._box.settled(batch, results)


_open: weakref.WeakSet[Recorder | AsyncRecorder] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Have all clients of a process that ends send what waits, for `CLOSE_S` seconds in all.

    Each has its share of the time that is left: who needs less leaves the rest to the others, and a gateway that does
    not answer takes nothing from the clients of another.
    """
    ends, left = clock.monotonic() + CLOSE_S, [each for each in list(_open) if each.waits]
    while left:
        share = max(ends - clock.monotonic(), 0.0) / len(left)
        recorder = left.pop()
        if isinstance(recorder, Recorder):
            recorder.close(share)
        else:
            recorder.end(share)


class Recording:
    """What `Client` has for outcomes."""

    _settings: Settings
    _box: Outbox
    _recorder: Recorder
    _closed: bool

    def outcome(
        self,
        name: str,
        value: float = 1.0,
        *,
        unit: str | None = None,
        request_id: str | None = None,
        outcome_id: str | None = None,
        time: datetime | float | None = None,
    ) -> str:
        """Say what a unit did after it was served, and return the outcome's id.

        It is sent in the background, with others, and again until a server has it; `flush` waits for that, and so does
        `close` for five seconds. Where `outcome_buffer` of them wait already, it is dropped and counted, with one
        warning in the log; a client made with `outcome_must_fit` raises `OverloadedError`.

        Args:
            name: what it did, as metrics call it: `order`.
            value: how much: 1 for something that was done, an amount for revenue.
            unit: who did it; None is the client's, unless a request says who.
            request_id: after which request, `served.request_id`, in place of a unit.
            outcome_id: the same whenever the same outcome is sent, such as an order's number; None makes one.
            time: when, with a time zone or in seconds since the epoch; None is now.
        """
        if self._closed:
            raise ValueError("this client is closed")
        made = _made(self._settings, name, value, unit, request_id, outcome_id, time)
        self._recorder.add(made)
        return made.outcome_id

    def flush(self, *, timeout: float | None = None) -> OutcomeCounts:
        """Wait until all outcomes so far are acknowledged, and return what became of them.

        Raises the error that stands in the way, if that takes longer than *timeout* seconds, the client's if None. What
        is not acknowledged goes on waiting. An outcome that is rejected is no error: it is counted.
        """
        return self._recorder.flush(self._settings.timeout if timeout is None else timeout)

    @property
    def outcomes(self) -> OutcomeCounts:
        """What became of this client's outcomes so far."""
        return self._box.counts()


class AsyncRecording:
    """What `AsyncClient` has for outcomes."""

    _settings: Settings
    _box: Outbox
    _recorder: AsyncRecorder
    _closed: bool

    async def outcome(
        self,
        name: str,
        value: float = 1.0,
        *,
        unit: str | None = None,
        request_id: str | None = None,
        outcome_id: str | None = None,
        time: datetime | float | None = None,
    ) -> str:
        """Say what a unit did after it was served, and return the outcome's id. It waits for nothing."""
        if self._closed:
            raise ValueError("this client is closed")
        made = _made(self._settings, name, value, unit, request_id, outcome_id, time)
        self._recorder.add(made)
        return made.outcome_id

    async def flush(self, *, timeout: float | None = None) -> OutcomeCounts:
        """Wait until all outcomes so far are acknowledged, and return what became of them."""
        return await self._recorder.flush(self._settings.timeout if timeout is None else timeout)

    @property
    def outcomes(self) -> OutcomeCounts:
        """What became of this client's outcomes so far."""
        return self._box.counts()


def _made(
    settings: Settings,
    name: str,
    value: float,
    unit: str | None,
    request_id: str | None,
    outcome_id: str | None,
    time: Any,
) -> v1.Outcome:
    if unit and request_id:
        raise ValueError("an outcome has a unit or a request_id, not both")
    who = "" if request_id else settings.unit_or(unit)
    return outbox.outcome(name, value, who, request_id, outcome_id, clock.time() if time is None else time)
