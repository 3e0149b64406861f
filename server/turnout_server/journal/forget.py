"""Forgetting a unit: every segment that has it is replaced by one without it, whose footer counts what went.

The files of views beside the journal's records are treated alike.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import duckdb
import msgspec

from turnout_server.journal import reading
from turnout_server.journal.accounts import RUNNING, accounts, footers
from turnout_server.journal.boot import Boot
from turnout_server.journal.foreign_rows import alone
from turnout_server.journal.keys import KEY, hashed, key_id, keys_in
from turnout_server.journal.schema import PARQUET, SEGMENTS, STAGING
from turnout_server.journal.sync import sync
from turnout_server.vocabulary.errors import InvalidRequestError, Kind, TurnoutError
from turnout_server.vocabulary.units import check_unit

if TYPE_CHECKING:
    from collections.abc import Iterator

AUDIT = "audit.jsonl"
_STAGED = "forget-"
_REQUESTS = "requests_of_unit"
"""The table of the unit's requests, while it is being forgotten."""
_STAY = "; the unit's records stay until it can be read or is gone: they say which of its rows are the unit's"


class ForgettingError(TurnoutError):
    """Another process forgets or imports at this moment, or the journal cannot be written."""

    reason = "JOURNAL_BUSY"
    kind = Kind.CONFLICT


class Forgotten(NamedTuple):
    """What forgetting a unit did."""

    units: Mapping[str, str]
    """The unit's hash in hexadecimal, by the id of the key that made it."""
    rows: int
    by_request: int
    """Of these, outcomes that named no unit but one of its requests."""
    segments: tuple[str, ...]
    """The segments that were replaced, relative to the journal."""
    running: tuple[Boot, ...]
    """Boots whose records may not be in a segment yet: forget again when they have written them."""
    unreadable: Mapping[str, str]
    """What is wrong with segments that nobody can look into, by name."""
    unknown_keys: Mapping[str, int]
    """Rows that were hashed with keys that are not here, by the key's id: the unit may be among them."""


class Removed(NamedTuple):
    """What went from one place."""

    rows: int
    by_request: int = 0
    """Of these, those that named no unit but one of its requests."""


Elsewhere = Callable[[Collection[bytes], Collection[str]], Mapping[str, Removed]]
"""Removes what is of a unit, given by its hashes and its requests' ids, from what is no Parquet file; returns what
went, by where, relative to the journal."""


def _nowhere_else(units: Collection[bytes], requests: Collection[str]) -> Mapping[str, Removed]:
    return {}


def forget(
    journal: Path,
    unit: str,
    key_file: Path | None = None,
    *,
    beside: Sequence[reading.View] = (),
    elsewhere: Elsewhere = _nowhere_else,
) -> Forgotten:
    """Remove every row of *unit* from *journal*, and write down that it was done.

    A segment is replaced in one step, so that readers see it as it was or as it is. May be repeated. Views that name
    requests lose the rows of the unit's requests, too. They go first, since the records say which requests those are;
    as long as a file of theirs cannot be read, the unit's records stay.

    Args:
        journal: its directory.
        unit: as callers sent it.
        key_file: the keys that units are hashed with; None for the journal's own.
        beside: views whose files lie below the journal, too.
        elsewhere: removes what is in no such file.

    Raises:
        InvalidRequestError: *unit* is empty or too long.
        ConfigurationError: the keys cannot be read.
        ForgettingError: somebody else forgets at this moment, or a segment cannot be replaced.
    """
    if not check_unit(unit):
        raise InvalidRequestError("unit: empty; records without a unit have nothing to forget")
    keys = keys_in(key_file or journal / KEY)
    units = {key_id(key): hashed(unit, key) for key in keys}
    with _auditing(journal) as audit, reading.unlocked() as connection:
        for left in (journal / STAGING).glob(f"{_STAGED}*"):  # by one that was killed: rows nobody would find again
            left.unlink(missing_ok=True)
        # Before the segments are listed: what a boot that has ended by now has written is then among them.
        running = tuple(Boot(each.instance, each.boot) for each in accounts(journal).accounts if each.state == RUNNING)
        done: dict[str, Removed] = {}
        unreadable: dict[str, str] = {}
        unknown: dict[str, int] = {}
        try:
            # Before the files are listed, too: what was there may be in one by then.
            requests = _requests(connection, reading.segments(journal).readable, units)
            done.update(elsewhere(units.values(), requests))
            found = reading.segments(journal, beside)
            unreadable.update({file.name: problem for file, problem in found.unreadable.items()})
            own = {*journal.glob(SEGMENTS)}
            unsearched = [file.name for file in found.unreadable if file not in own]
            # Those that name requests first: while the records are there, a run that is cut short can be repeated.
            for view, file in ((view, file) for view, files in reversed(found.views) for file in files):
                if view is reading.RECORDS and requests and unsearched:
                    unreadable.update({name: f"{unreadable[name]}{_STAY}" for name in unsearched})
                    break
                named = view is not reading.RECORDS and "request_id" in view.columns
                try:
                    removed = _rewrite(connection, journal, file, units, unknown, names_requests=named)
                except FileNotFoundError:
                    continue
                except (duckdb.Error, ValueError) as error:
                    unreadable[file.name] = reading.first_line(error)
                    unsearched += [file.name] if named else []
                    continue
                except OSError as error:
                    raise ForgettingError(f"{file}: {error.strerror or error}") from error
                if removed.rows:
                    done[str(file.relative_to(journal))] = removed
        finally:
            hashes = {name: value.hex() for name, value in units.items()}
            _audit(audit, hashes, done, running, unreadable)
    rows, by_request = (sum(column) for column in zip(Removed(0), *done.values(), strict=True))
    return Forgotten(hashes, rows, by_request, tuple(done), running, unreadable, unknown)


def _requests(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], units: Mapping[str, bytes]
) -> Collection[str]:
    """Return the ids of a unit's requests, and put them into the table `_REQUESTS`.

    An id that another unit's request has as well is among them: whose outcome it brought nobody knows, and with this
    unit's record gone it would pass for the other's.
    """
    marks = ", ".join(f"${index + 2}" for index in range(len(units)))
    found: set[str] = set()
    for file in files:
        # One that cannot be read is told of when it is to be replaced.
        with contextlib.suppress(duckdb.Error):
            rows = connection.execute(
                "SELECT DISTINCT request_id FROM read_parquet($1, hive_partitioning = false)"
                f" WHERE unit IS NOT NULL AND unit IN ({marks}) AND request_id IS NOT NULL",
                [reading.pattern(file), *units.values()],
            ).fetchall()
            found.update(request for (request,) in rows)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_REQUESTS} AS SELECT unnest($1::VARCHAR[]) AS request_id", [sorted(found)]
    )
    return found


def _rewrite(
    connection: duckdb.DuckDBPyConnection,
    journal: Path,
    file: Path,
    units: Mapping[str, bytes],
    unknown: dict[str, int],
    *,
    names_requests: bool,
) -> Removed:
    """Replace *file* by one without *units*, where it has any, and return what went.

    Where rows may name a request in place of a unit, those that name one of `_REQUESTS` go, too.
    """
    name = reading.pattern(file)
    source = "read_parquet($1, hive_partitioning = false)"
    marks = ", ".join(f"${index + 2}" for index in range(len(units)))
    theirs = f"(unit IS NOT NULL AND unit IN ({marks}))"
    values = [name, *units.values()]
    removed = by_request = 0
    for key, count, gone in connection.execute(
        f"SELECT coalesce(unit_key_id, ''), count(*), count(*) FILTER ({theirs}) FROM {source}"
        " WHERE unit IS NOT NULL GROUP BY ALL",
        values,
    ).fetchall():
        removed += gone
        if key not in units:
            unknown[key] = unknown.get(key, 0) + count
    if names_requests:
        asked = f"(unit IS NULL AND request_id IS NOT NULL AND request_id IN (SELECT request_id FROM {_REQUESTS}))"
        theirs = f"({theirs} OR {asked})"
        (by_request,) = connection.execute(f"SELECT count(*) FROM {source} WHERE {asked}", [name]).fetchone() or (0,)
        removed += by_request
    if not removed:
        return Removed(0)
    said = {f"turnout.{key}": value for key, value in footers(connection, [file])[file].items()}
    said["turnout.forgotten"] = str(int(said.get("turnout.forgotten") or 0) + removed)
    staged = journal / STAGING / f"{_STAGED}{file.name}"
    staged.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        connection.execute(
            f"COPY (SELECT * FROM {source} WHERE NOT {theirs}) TO {reading.literal(str(staged))}"
            f" ({PARQUET}, KV_METADATA {{{_members(said)}}})",
            values,
        )
        _swap(staged, file)
    finally:
        staged.unlink(missing_ok=True)
    return Removed(removed, by_request)


def _swap(staged: Path, file: Path) -> None:
    shutil.copymode(file, staged)
    sync(staged)
    staged.replace(file)
    sync(file.parent)


def _members(said: Mapping[str, str]) -> str:
    return ", ".join(f"{reading.literal(name)}: {reading.literal(value)}" for name, value in said.items())


@contextmanager
def _auditing(journal: Path) -> Iterator[IO[bytes]]:
    """Lend the audit's file, locked: two at once could bring back each other's rows, as could an import."""
    try:
        with (journal / AUDIT).open("ab") as audit:
            fcntl.flock(audit, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with alone(journal):
                yield audit
    except BlockingIOError as error:
        message = f"{journal}: somebody else is forgetting, or importing; try again when they are done"
        raise ForgettingError(message) from error
    except OSError as error:
        raise ForgettingError(f"{journal / AUDIT}: {error.strerror or error}") from error


def _audit(
    audit: IO[bytes],
    units: Mapping[str, str],
    done: Mapping[str, Removed],
    running: Sequence[Boot],
    unreadable: Mapping[str, str],
) -> None:
    """Write down what was done. The unit itself is not in it."""
    line = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "units": units,
        "rows": sum(each.rows for each in done.values()),
        "by_request": sum(each.by_request for each in done.values()),
        "segments": {name: each.rows for name, each in done.items()},
        "running": [f"{boot.instance}-{boot.boot}" for boot in running],
        "unreadable": unreadable,
    }
    audit.write(msgspec.json.encode(line) + b"\n")
    audit.flush()
    os.fsync(audit.fileno())
