"""Takes outcomes from many callers, and answers when they are on the disk; one thread writes for all who wait."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from arro3.core import RecordBatch

from turnout_server.config import JournalConfig, OutcomesConfig
from turnout_server.instruments.families import Buckets, Histogram
from turnout_server.journal.boot import Boot
from turnout_server.journal.keys import keys_in, own_keys
from turnout_server.journal.segments import Write
from turnout_server.journal.sync import sync
from turnout_server.outcomes.inbox import Error, Inbox, InboxTakenError, left_behind, own
from turnout_server.outcomes.outcome import Fate, Outcome, Result, check
from turnout_server.outcomes.schema import FOLDER
from turnout_server.outcomes.segments import OutcomeFiles, batch
from turnout_server.vocabulary.errors import ConfigurationError, OutcomesUnavailableError

MOST_WAITING = 20_000
"""Outcomes that may wait to be written; more are refused, and may come again."""
AT_ONCE = 5_000
"""Outcomes that are written together, if as many wait."""
FILE_ROWS = 100_000
"""Outcomes in a file at most."""
BATCH_ROWS = 2_000
"""Rows that are made into columns at once: Python's lock is held meanwhile."""
RETRY_S = 1.0
"""How soon what failed is tried again, in seconds."""
TURN_S = 0.25
"""How often is looked at what else is due, in seconds."""
TIDY_S = 60.0
"""How often old ids are forgotten, a part of them, in seconds."""
SWEEP_S = 600.0
"""How often is looked for what other gateways left behind, in seconds."""
CLOSE_S = 0.8
"""What the last file gets to be finished once the process ends, in seconds. What is not in it the next one finds."""
_DAY_US: Final = 24 * 60 * 60 * 1_000_000
_LAGS_US: Final = tuple(seconds * 1_000_000 for seconds in (1, 10, 60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400))
_log = structlog.get_logger("turnout.outcomes")


class Counts(NamedTuple):
    """How outcomes are doing."""

    fates: Mapping[str, int]
    """Outcomes that callers have been told of, by what became of them."""
    lag: Buckets
    """From the event to the acknowledgement of accepted outcomes, in seconds."""
    waiting: int
    """Outcomes that are kept and in no file yet."""
    problem: str
    """Why nothing can be taken at the moment; empty when it can."""


class _Request(NamedTuple):
    outcomes: Sequence[Outcome]
    answer: Future[list[Result]]


class Intake:
    """One gateway's outcomes. `take` and `counts` are for any thread, the rest for the one that writes."""

    def __init__(
        self,
        journal: JournalConfig,
        outcomes: OutcomesConfig,
        boot: Boot,
        keys: Sequence[bytes] = (),
        write: Write | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Make an intake that has opened nothing.

        Args:
            journal: where to, and how soon files are finished.
            outcomes: how long ids are remembered.
            boot: who takes them.
            keys: what units are hashed with, the newest first; none for the journal's own.
            write: writes a file; None for DuckDB.
            wall: seconds since the epoch.
        """
        self._journal = Path(journal.path or "").absolute()
        self._rotate_s = journal.rotate_s
        self._remember_us = int(outcomes.remember_days * _DAY_US)
        self._boot = boot
        self._given_keys = self._keys = tuple(keys)
        self._files = OutcomeFiles(self._journal, boot, write)
        self._wall = wall
        self._changed = threading.Condition()
        self._queue: deque[_Request] = deque()
        self._queued = 0
        self._is_closing = False
        self._inbox: Inbox | None = None
        self._rows = 0
        """In the inbox, and in no file."""
        self._since: float | None = None
        """When the first of them came."""
        self._open_at = self._export_at = self._sweep_at = self._tidy_at = float("-inf")
        self._part = 0
        self._fates = dict.fromkeys((fate.value for fate in Fate), 0)
        self._lag = Histogram(_LAGS_US)
        self._taking = _Trouble("outcomes cannot be taken; callers are refused", "outcomes can be taken again")
        self._filing = _Trouble("outcomes cannot be put into files; they are kept", "outcomes are put into files again")

    # ------------------------------------------------------------ any thread

    def take(self, outcomes: Sequence[Outcome]) -> Future[list[Result]]:
        """Return what is to become of *outcomes*, each: it is there once they are on the disk, or cannot be kept.

        Raises:
            OutcomesUnavailableError: too many wait already, or this is the end. The future may raise it as well.
        """
        answer: Future[list[Result]] = Future()
        with self._changed:
            if self._is_closing:
                raise OutcomesUnavailableError("this gateway is going away")
            if self._queued + len(outcomes) > MOST_WAITING:
                raise OutcomesUnavailableError(f"{self._queued} outcomes wait to be written already")
            self._queue.append(_Request(outcomes, answer))
            self._queued += len(outcomes)
            self._changed.notify()
        return answer

    def counts(self) -> Counts:
        """Return how it is doing."""
        return Counts(dict(self._fates), self._lag.read(1_000_000), self._rows, self._taking.problem)

    def close(self) -> None:
        """Take nothing any more; what waits is still written."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    # ------------------------------------------------------------ the thread that writes

    def work(self) -> None:
        """Take turns until closed, and then the last one."""
        while not self._is_closing:
            with self._changed:
                if not self._queue and not self._is_closing:
                    self._changed.wait(TURN_S)
            _safely(lambda: self.turn(time.monotonic()))
        _safely(lambda: self.turn(time.monotonic(), closing=True))

    def turn(self, now: float, *, closing: bool = False) -> None:
        """Answer those who wait, and do what else is due.

        Args:
            now: in seconds, on a clock that never goes back.
            closing: whether it is the last turn: all are answered, all goes into a file, and the inbox is let go.
        """
        while requests := self._next():
            self._answer(requests, now)
            if not closing:
                break
        if self._inbox is None and not closing:
            with contextlib.suppress(*Error, ConfigurationError):  # it was said
                self._opened(now)
        inbox = self._inbox
        if inbox is None:
            return
        self._export(inbox, now, closing=closing)
        if closing:
            inbox.close()
            self._inbox = None
        else:
            self._tidy(inbox, now)

    def _next(self) -> list[_Request]:
        """Return what is to be written together; nobody takes back any of it from here on."""
        requests: list[_Request] = []
        count = 0
        with self._changed:
            while self._queue and (not requests or count + len(self._queue[0].outcomes) <= AT_ONCE):
                request = self._queue.popleft()
                self._queued -= len(request.outcomes)
                if request.answer.set_running_or_notify_cancel():
                    requests.append(request)
                    count += len(request.outcomes)
        return requests

    def _answer(self, requests: Sequence[_Request], now: float) -> None:
        now_us = int(self._wall() * 1e6)
        checked = [[check(outcome, now_us) for outcome in request.outcomes] for request in requests]
        sound = [
            outcome
            for request, found in zip(requests, checked, strict=True)
            for outcome, rejected in zip(request.outcomes, found, strict=True)
            if rejected is None
        ]
        try:
            kept = iter(self._opened(now).put(sound, self._keys, now_us, self._boot) if sound else ())
        except (*Error, ConfigurationError) as error:
            self._fail(error, now)
            for request in requests:
                request.answer.set_exception(OutcomesUnavailableError("outcomes cannot be written at the moment"))
            return
        except BaseException as error:
            for request in requests:
                request.answer.set_exception(error)
            raise
        for request, found in zip(requests, checked, strict=True):
            results = [rejected or next(kept) for rejected in found]
            self._count(request.outcomes, results, now_us, now)
            request.answer.set_result(results)
        if sound:
            self._taking.say("")

    def _count(self, outcomes: Sequence[Outcome], results: Sequence[Result], now_us: int, now: float) -> None:
        for outcome, result in zip(outcomes, results, strict=True):
            self._fates[result.fate.value] += 1
            if result.fate is Fate.ACCEPTED and outcome.event_us is not None:
                self._lag.add(max(now_us - outcome.event_us, 0))
                self._rows += 1
                if self._since is None:
                    self._since = now

    def _opened(self, now: float) -> Inbox:
        """Return the inbox, which is opened where that was not done or it was lost, at most once in `RETRY_S`."""
        if self._inbox is not None:
            return self._inbox
        if now < self._open_at:
            raise OSError(self._taking.problem)
        self._open_at = now + RETRY_S
        try:
            folder = self._journal / FOLDER
            missing = [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            for each in missing:
                sync(each.parent)
            self._keys = self._given_keys or own_keys(self._journal)  # it goes with the folder, if that goes
            self._inbox = inbox = own(folder, self._boot.instance)
            self._rows = inbox.count
        except (*Error, ConfigurationError) as error:
            self._fail(error, now)
            raise
        if self._rows:
            self._since = float("-inf")  # another process left them
        self._taking.say("")
        return inbox

    def _fail(self, error: BaseException, now: float) -> None:
        """Let the inbox go, in whatever state it is: it is opened again."""
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None
            self._open_at = now + RETRY_S
        self._taking.say(str(error) or type(error).__name__)

    # ------------------------------------------------------------ files

    def _export(self, inbox: Inbox, now: float, *, closing: bool) -> None:
        is_old = self._since is not None and now - self._since >= self._rotate_s
        if not self._rows or not (closing or is_old or self._rows >= FILE_ROWS):
            return
        if now < self._export_at and not closing:
            return
        try:
            self._rows -= self._file_of(inbox)
            if self._rows <= 0:
                self._rows, self._since = 0, None
            self._filing.say("")
        except Exception as error:  # whatever disks and databases come up with
            self._export_at = now + RETRY_S
            self._filing.say(str(error) or type(error).__name__)

    def _file_of(self, inbox: Inbox) -> int:
        """See to it that the oldest outcomes in *inbox* are in a file, once; return how many."""
        plan = inbox.plan(FILE_ROWS, self._files.place)
        if plan is None:
            return 0
        if not self._files.has(plan.file):
            batches: list[RecordBatch] = []
            after = 0
            while rows := inbox.waiting(BATCH_ROWS, after, plan.last_seq):
                batches.append(batch(rows))
                after = rows[-1].seq
            if batches:
                self._files.write(batches, plan.file, inbox.name)
        return inbox.exported(plan.last_seq)

    def _tidy(self, inbox: Inbox, now: float) -> None:
        before_us = int(self._wall() * 1e6) - self._remember_us
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_S
            _safely(lambda: inbox.forget(before_us, self._part))
            self._part = (self._part + 1) % 256
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            _safely(lambda: self._sweep(inbox, before_us))

    def _sweep(self, mine: Inbox, before_us: int) -> None:
        """Make files of what gateways left behind that don't come back under their names."""
        for inbox in left_behind(mine.file.parent, mine.file):
            try:
                while self._file_of(inbox):
                    pass
                if inbox.is_spent(before_us):
                    with contextlib.suppress(InboxTakenError):  # the next time, then
                        inbox.remove()
            finally:
                inbox.close()


class _Trouble:
    """Something that fails for a while: the log has when it begins and when it ends."""

    def __init__(self, begins: str, ends: str) -> None:
        self._begins = begins
        self._ends = ends
        self.problem = ""
        """Why it fails; empty while it does not."""

    def say(self, problem: str) -> None:
        """Hear how it is now."""
        problem = " ".join(problem.split())
        if problem and not self.problem:
            _log.warning(self._begins, problem=problem)
        elif self.problem and not problem:
            _log.info(self._ends)
        self.problem = problem


@contextlib.contextmanager
def opening(
    journal: JournalConfig,
    outcomes: OutcomesConfig,
    boot: Boot,
    *,
    close_s: float = CLOSE_S,
    write: Write | None = None,
) -> Iterator[Intake]:
    """Take outcomes while the context lasts. At its end they are put into a file, for *close_s* seconds at most.

    A disk that is full, forbidden or broken is no error: it is logged, callers are refused, and it is tried again.

    Raises:
        ConfigurationError: the key file cannot be used.
    """
    keys = keys_in(Path(journal.key_file)) if journal.key_file is not None else ()
    intake = Intake(journal, outcomes, boot, keys, write)
    thread = threading.Thread(target=intake.work, name="outcomes", daemon=True)
    thread.start()
    try:
        yield intake
    finally:
        intake.close()
        thread.join(close_s)
        if thread.is_alive():
            _log.warning("outcomes are in no file yet; the next gateway puts them there", seconds=close_s)


def _safely(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        _log.exception("a turn at the outcomes failed; the next one comes")
