"""Where outcomes are kept from when they are acknowledged until they are in a file, and their ids for longer.

One SQLite file belongs to one process at a time: it holds the file's lock, which goes with it. What a call of `put` has
returned for is on the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from turnout_server.journal.boot import Boot
from turnout_server.journal.keys import hashed, key_id
from turnout_server.journal.sync import sync
from turnout_server.outcomes.outcome import ACCEPTED, CONTENT_DIFFERS, DUPLICATE, Outcome, Result

VERSION = 1
"""Of the file's tables."""
SUFFIX = ".sqlite"
_MOST_OF_ONE_NAME = 64
"""Processes that may be called the same and take outcomes into one folder."""
_PATIENCE_S: Final = 2.0
"""How long a file is waited for that somebody who tidies up has, in seconds."""
_LOOK_EVERY_S: Final = 0.02
_LOCK: Final = ".lock"
"""The file that is locked while inboxes are opened or removed: nobody opens what somebody else removes."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS waiting (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, outcome_id TEXT NOT NULL, unit BLOB, unit_key_id TEXT, request_id TEXT,
    ts INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, ingested INTEGER NOT NULL,
    instance TEXT NOT NULL, boot TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS planned (file TEXT NOT NULL, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS known (id BLOB PRIMARY KEY, content BLOB NOT NULL, ingested INTEGER NOT NULL) WITHOUT ROWID;
"""
_KNOW: Final = "INSERT OR IGNORE INTO known VALUES (?, ?, ?)"
_KEEP: Final = (
    "INSERT INTO waiting (outcome_id, unit, unit_key_id, request_id, ts, name, value, ingested, instance, boot)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_log = structlog.get_logger("turnout.outcomes")
Error = (sqlite3.Error, OSError)
"""What everything here raises where the disk is full, forbidden or broken, or the file no inbox."""


class InboxTakenError(OSError):
    """Another process has the file."""


class InboxGoneError(OSError):
    """Somebody has removed or replaced the file."""


class Waiting(NamedTuple):
    """An outcome that is to be in a file; times are microseconds since the epoch."""

    seq: int
    outcome_id: str
    unit: bytes | None
    unit_key_id: str | None
    request_id: str | None
    ts: int
    name: str
    value: float
    ingested: int
    instance: str
    boot: str


_READ: Final = f"SELECT {', '.join(Waiting._fields)} FROM waiting WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
_NEXT: Final = (
    "SELECT (SELECT ingested FROM waiting ORDER BY seq LIMIT 1), max(seq)"
    " FROM (SELECT seq FROM waiting ORDER BY seq LIMIT ?)"
)


class Plan(NamedTuple):
    """What the next file is to have."""

    file: str
    """Where, below the journal."""
    last_seq: int
    """All that waits up to this number."""


class Inbox:
    """One file. One thread only."""

    def __init__(self, file: Path, patience_s: float) -> None:
        """Open *file* and hold it; an empty one will do. `own` and `left_behind` see to it that nobody removes it.

        Raises:
            InboxTakenError: another process has it, and still has after *patience_s* seconds.
            sqlite3.Error, OSError: it is not there, or cannot be read.
        """
        self.file = file
        self._identity = _identity(file)
        self._database = sqlite3.connect(file, timeout=patience_s, isolation_level=None, check_same_thread=False)
        try:
            self._hold()
        except BaseException:
            self._database.close()
            raise

    def _hold(self) -> None:
        run = self._database.execute
        try:
            # The lock is kept between transactions, so there is no shared memory either, which some disks can't do.
            run("PRAGMA locking_mode = EXCLUSIVE")
            run("PRAGMA journal_mode = WAL")
            run("PRAGMA synchronous = FULL")
            run("PRAGMA fullfsync = ON")  # for macOS, where a sync is none else
            run("PRAGMA journal_size_limit = 67108864")
            run("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise InboxTakenError(f"{self.file.name}: another process has it") from error
            raise
        self._look()
        (version,) = run("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise OSError(f"{self.file.name}: has version {version}; this release reads {VERSION}")
        for statement in _TABLES.split(";")[:-1]:
            run(statement)
        run(f"PRAGMA user_version = {VERSION}")
        run("COMMIT")

    def put(self, outcomes: Iterable[Outcome], keys: Sequence[bytes], now_us: int, boot: Boot) -> list[Result]:
        """Keep what is new of *outcomes*, all of which were checked, in one transaction; return what became of each.

        Args:
            outcomes: in the order of their results.
            keys: what units are hashed with, the newest first, and the others, with which they may be known.
            now_us: when they are acknowledged.
            boot: who does so.

        Raises:
            sqlite3.Error, OSError: none of them is kept, or none of them should count as kept.
        """
        named = key_id(keys[0])
        self._database.execute("BEGIN")
        try:
            results = [self._put_one(outcome, keys, named, now_us, boot) for outcome in outcomes]
            self._database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise
        self._look()
        return results

    def _put_one(self, outcome: Outcome, keys: Sequence[bytes], named: str, now_us: int, boot: Boot) -> Result:
        run = self._database.execute
        outcome_id, unit, request_id, event_us, name, value = outcome
        raw = outcome_id.encode()
        place = blake2b(raw, digest_size=16).digest()
        unit_hash = hashed(unit, keys[0]) if unit else None
        content = _content(outcome, unit_hash)
        if run(_KNOW, (place, content, now_us)).rowcount:
            about = (unit_hash, named if unit else None, request_id or None)
            run(_KEEP, (outcome_id, *about, event_us, name, value, now_us, boot.instance, boot.boot))
            return ACCEPTED
        (known,) = run("SELECT content FROM known WHERE id = ?", (place,)).fetchone()
        if known == content or (unit and known in [_content(outcome, hashed(unit, key)) for key in keys[1:]]):
            return DUPLICATE
        return CONTENT_DIFFERS

    @property
    def name(self) -> str:
        """What it is called: an instance, or where several are called the same, one of them."""
        return self.file.name.removeprefix(".").removesuffix(SUFFIX)

    def plan(self, most: int, place: Callable[[int], str]) -> Plan | None:
        """Return what the next file is to have; None where nothing waits.

        It is the same until `exported`, whoever asks: who finds such a file there knows that it has these outcomes, and
        makes no second one.

        Args:
            most: how many outcomes at most, the oldest.
            place: says where, given when the first of them was acknowledged, in microseconds since the epoch.

        Raises:
            sqlite3.Error: it cannot be read or written down.
        """
        run = self._database.execute
        found = run("SELECT file, last FROM planned").fetchone()
        if found is None:
            first_us, last = run(_NEXT, (most,)).fetchone()
            if last is None:
                return None
            found = place(first_us), last
            run("INSERT INTO planned VALUES (?, ?)", found)
        return Plan(*found)

    def waiting(self, most: int, after: int = 0, last: int = 2**63 - 1) -> list[Waiting]:
        """Return the oldest outcomes that no file has, in their order.

        Args:
            most: how many at most.
            after: the number before the first.
            last: the number of the last.

        Raises:
            sqlite3.Error: they cannot be read.
        """
        return list(map(Waiting._make, self._database.execute(_READ, (after, last, most))))

    def exported(self, last_seq: int) -> int:
        """Hear that outcomes up to that number are in a file, the planned one; return how many.

        Raises:
            sqlite3.Error: that cannot be written down.
        """
        run = self._database.execute
        run("BEGIN")
        try:
            count = run("DELETE FROM waiting WHERE seq <= ?", (last_seq,)).rowcount
            run("DELETE FROM planned")
            run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                run("ROLLBACK")
            raise
        return count

    @property
    def count(self) -> int:
        """How many outcomes no file has."""
        (count,) = self._database.execute("SELECT count(*) FROM waiting").fetchone()
        return int(count)

    def forget(self, before_us: int, part: int) -> None:
        """Forget the ids of what came before then, in one of 256 parts, so that nobody waits for all of them.

        Raises:
            sqlite3.Error: that cannot be done.
        """
        first, end = bytes([part]), bytes([part + 1]) if part < 255 else b"\xff" * 17
        self._database.execute("DELETE FROM known WHERE id >= ? AND id < ? AND ingested < ?", (first, end, before_us))

    def remove_units(self, units: Collection[bytes]) -> int:
        """Remove outcomes of *units*, as hashed, that no file has; return how many went. Their ids stay known.

        Raises:
            sqlite3.Error: that cannot be done.
        """
        marks = ", ".join("?" * len(units))
        return self._database.execute(f"DELETE FROM waiting WHERE unit IN ({marks})", tuple(units)).rowcount

    def remove_requests(self, requests: Collection[str]) -> int:
        """Remove outcomes that name no unit but one of *requests*, likewise."""
        # In one pass and one transaction: a busy unit has many requests, and nobody else gets the file meanwhile.
        run = self._database.execute
        run("PRAGMA temp_store = MEMORY")
        run("CREATE TEMP TABLE asked (request_id TEXT PRIMARY KEY) WITHOUT ROWID")
        try:
            self._database.executemany("INSERT INTO asked VALUES (?)", ((request,) for request in set(requests)))
            which = "unit IS NULL AND request_id IN (SELECT request_id FROM asked)"
            return run(f"DELETE FROM waiting WHERE {which}").rowcount
        finally:
            run("DROP TABLE temp.asked")

    def is_spent(self, before_us: int) -> bool:
        """Say whether nobody needs the file any more: all is in files, and came before then.

        Raises:
            sqlite3.Error: it cannot be read.
        """
        query = "SELECT EXISTS (SELECT 1 FROM waiting) OR EXISTS (SELECT 1 FROM known WHERE ingested >= ?)"
        (needed,) = self._database.execute(query, (before_us,)).fetchone()
        return not needed

    def remove(self) -> None:
        """Remove the file, and let it go.

        Raises:
            InboxTakenError: somebody opens inboxes at this moment; it stays as it is.
            sqlite3.Error, OSError: that cannot be done.
        """
        with _alone(self.file.parent, 0.0):
            try:
                # Its log goes first: closing would remove one of that name, which may be another process's by then.
                self._database.execute("PRAGMA journal_mode = DELETE")
                self.file.unlink()
            finally:
                self.close()

    def close(self) -> None:
        """Let the file go."""
        with contextlib.suppress(sqlite3.Error):
            self._database.close()

    def _look(self) -> None:
        """See that what is written is in the file of that name, and not in one that nobody will find.

        Raises:
            InboxGoneError: it is not.
        """
        try:
            is_same = _identity(self.file) == self._identity
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise InboxGoneError(f"{self.file.name}: was removed while it was in use")


def own(folder: Path, instance: str) -> Inbox:
    """Return an inbox that this process alone has: the instance's, or where several are called the same, the next one.

    Raises:
        sqlite3.Error, OSError: there is none to be had.
    """
    with _alone(folder, _PATIENCE_S):
        for number in range(1, _MOST_OF_ONE_NAME + 1):
            file = folder / f".{instance if number == 1 else f'{instance}~{number}'}{SUFFIX}"
            _make(file)
            with contextlib.suppress(InboxTakenError):
                return Inbox(file, _PATIENCE_S)
    raise OSError(f"{_MOST_OF_ONE_NAME} processes called {instance} take outcomes already; journal.instance names them")


def left_behind(folder: Path, mine: Path | None = None, strict: bool = False) -> Iterator[Inbox]:
    """Yield each inbox in *folder* that no process has, but for *mine*; unless *strict*, what is broken is passed over.
    Whoever gets one closes it.

    Raises:
        OSError: the folder, or where *strict* an inbox, cannot be looked into.
    """
    for file in sorted(folder.glob(f".*{SUFFIX}")):
        if mine is None or file.name != mine.name:
            try:
                with _alone(folder, 0.0):
                    inbox = Inbox(file, 0.0)
            except (InboxTakenError, FileNotFoundError):
                continue
            except Error as error:
                if strict:
                    raise OSError(f"{file}: {error}") from error
                _log.warning("outcomes that a gateway left behind cannot be read", file=file.name, problem=str(error))
                continue
            yield inbox


def _make(file: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        sync(file.parent)


@contextlib.contextmanager
def _alone(folder: Path, patience_s: float) -> Iterator[None]:
    """Let nobody else open or remove an inbox in *folder* meanwhile.

    Raises:
        InboxTakenError: somebody else does, and still does after *patience_s* seconds. It may hang: who waited for it
            would hang, too.
    """
    ends = time.monotonic() + patience_s
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _locked(descriptor):
            if time.monotonic() >= ends:
                raise InboxTakenError(f"{_LOCK}: another process opens or removes an inbox")
            time.sleep(_LOOK_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _content(outcome: Outcome, unit_hash: bytes | None) -> bytes:
    """Return what is the same for the same content, and for no other."""
    event_us, value = outcome.event_us, outcome.value + 0.0  # -0.0 is 0.0
    packed = struct.pack("<qd", event_us, value)
    # Neither hash nor name has a zero in it, so that nothing moves from one part to the next.
    parts = (unit_hash.hex() if unit_hash else "", outcome.name, outcome.request_id)
    return blake2b(packed + "\0".join(parts).encode(), digest_size=16).digest()


def _identity(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino
