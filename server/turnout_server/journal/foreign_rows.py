"""Somebody's tables on their way into the journal: read in pieces, checked row by row, units hashed before all else.

What is kept meanwhile is in a database below the journal's staging folder, so that tables may be larger than memory.
"""

from __future__ import annotations

import csv
import datetime
import fcntl
import gzip
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from turnout_server.journal.keys import KEY, keys_in, make_key
from turnout_server.journal.mapping import Field, ForeignTableError, Plan, quoted
from turnout_server.journal.reading import first_line, literal, pattern, unlocked
from turnout_server.journal.schema import STAGING
from turnout_server.journal.segments import cause_of
from turnout_server.vocabulary.errors import Kind, TurnoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from arro3.core import Table

MEMORY = "1GB"
"""What the database may take; what needs more goes to disk, with units hashed."""
LISTED = 10
"""How many refused rows are told one by one."""
_FOLDER = "import"
_DELIMITERS = ",\t;|"
_MOST_CHARACTERS = 1 << 20
"""Of a CSV file's first line."""
_CUT_QUOTE = "UNQUOTED VALUE"
"""DuckDB's name for a quote that does not end: which of the following lines are rows cannot be told."""


class ImportFailedError(TurnoutError):
    """The journal cannot be written, or its disk is full; nothing of it has been changed that counts."""

    reason = "IMPORT_FAILED"
    kind = Kind.UNAVAILABLE


class ImportBusyError(TurnoutError):
    """Another process imports into this journal, or forgets, at this moment."""

    reason = "IMPORT_BUSY"
    kind = Kind.CONFLICT


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A CSV or Parquet file, looked at from outside."""

    path: Path
    columns: tuple[str, ...]
    sql: str
    """What stands behind FROM."""
    is_csv: bool


@dataclass(slots=True)
class Refusals:
    """Rows that are not taken."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    """The first of them, one line each: where, what, what was expected."""


def foreign_file(path: Path) -> ForeignFile:
    """Return *path* as a table: Parquet where its name says so, else CSV with a header, which gzip may have packed.

    What stands most often in the first line, of comma, tab, semicolon and bar, is between the cells.

    Raises:
        ForeignTableError: it cannot be read, or is neither.
    """
    try:
        if path.name.endswith((".parquet", ".pq")):
            sql = f"read_parquet({literal(pattern(path))}, hive_partitioning = false, binary_as_string = true)"
            with unlocked() as connection:
                described = connection.execute(f"DESCRIBE FROM {sql}").fetchall()
            return ForeignFile(path, tuple(str(name) for name, *_ in described), sql, is_csv=False)
        is_packed = path.name.endswith(".gz")
        opening = gzip.open if is_packed else open
        with opening(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
            first = opened.readline(_MOST_CHARACTERS)
    except (OSError, EOFError, duckdb.Error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise ForeignTableError(f"{path}: {why}") from error
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        first.encode()
        (columns,) = csv.reader([first or "\n"], delimiter=delimiter, strict=True)
        if not columns:
            raise ValueError("no columns")
    except (ValueError, csv.Error) as error:
        raise ForeignTableError(f"{path}: expected a first line with the columns' names, in UTF-8") from error
    names = tuple(name or f"column {place}" for place, name in enumerate(columns, start=1))
    types = ", ".join(f"c{place}: 'VARCHAR'" for place in range(len(names)))
    packing = "gzip" if is_packed else "none"
    sql = (
        f"read_csv({literal(pattern(path))}, auto_detect = false, header = true, columns = {{{types}}},"
        f" delim = {literal(delimiter)}, quote = '\"', escape = '\"', compression = '{packing}',"
        f" store_rejects = true, rejects_limit = 0) AS csv({', '.join(map(quoted, names))})"
    )
    return ForeignFile(path, names, sql, is_csv=True)


def digest_of(path: Path) -> str:
    """Return what tells a file's bytes from others', in hexadecimal.

    Raises:
        ForeignTableError: it cannot be read.
    """
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ForeignTableError(f"{path}: {error.strerror or error}") from error


def key_for(journal: Path, key_file: Path | None) -> tuple[bytes, bool]:
    """Return the key that units are hashed with, and whether it was made now, as the journal had none.

    Raises:
        ConfigurationError: the key file cannot be used.
        OSError: none can be made.
    """
    if key_file is not None:
        return keys_in(key_file)[0], False
    is_new = make_key(journal)
    return keys_in(journal / KEY)[0], is_new


class ForeignRows:
    """Rows that have been read, in a table `taken`: `place`, `row`, `problem`, and the fields."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, now: datetime.datetime) -> None:
        """Begin with nothing.

        Args:
            connection: to a database of its own.
            folder: a folder that is removed afterwards.
            now: what times must not be ahead of.
        """
        self.connection = connection
        self.folder = folder
        self._now = now
        self._names: list[str] = []
        self._torn = Refusals()

    def begin(self, fields: Sequence[Field], key: bytes) -> None:
        """Make room for rows with these fields, whose units are hashed with *key*."""
        self.connection.create_function("hashed", _hasher(key), ["VARCHAR"], "BLOB")
        columns = ", ".join(f"{quoted(one.name)} {one.stored}" for one in fields)
        self.connection.execute(f"CREATE TABLE taken (place INTEGER, row BIGINT, problem VARCHAR, {columns})")

    def take_file(self, file: ForeignFile, plan: Plan) -> None:
        """Take the rows of *file*.

        Raises:
            ForeignTableError: it is no such file, or it cannot be told what is a row.
        """
        self._names.append(str(file.path))
        try:
            self.connection.execute(f"INSERT INTO taken {plan.select(file.sql, len(self._names) - 1, self._now)}")
        except duckdb.Error as error:
            if isinstance(error, duckdb.OutOfMemoryException) or cause_of(error) != "io_error":  # it is our disk's
                raise
            raise ForeignTableError(f"{file.path}: {str(error).splitlines()[0]}") from error
        if file.is_csv:
            self._take_rejects(file)

    def take_batch(self, batch: Table, plan: Plan, first_row: int, name: str) -> None:
        """Take rows that somebody has fetched of the one table *name*; the first is number *first_row*, from 1."""
        self._names = [name]
        self.connection.register("batch", batch)
        try:
            rows = plan.select("batch", 0, self._now)
            self.connection.execute(f"INSERT INTO taken SELECT * REPLACE (row + {first_row - 1} AS row) FROM ({rows})")
        finally:
            self.connection.unregister("batch")

    def _take_rejects(self, file: ForeignFile) -> None:
        """Count the lines of a CSV file that make no row."""
        counted = self.connection.execute(
            "SELECT count(DISTINCT line), min(line) FILTER (error_type = $1) FROM reject_errors", [_CUT_QUOTE]
        ).fetchone()
        lines, cut = counted or (0, None)
        if cut is not None:
            raise ForeignTableError(f"{file.path}: line {cut}: a quote that does not end, or ends before the cell does")
        self._torn.count += lines
        for line, message in self.connection.execute(
            f"SELECT line, min(error_message) FROM reject_errors GROUP BY line ORDER BY line LIMIT {LISTED}"
        ).fetchall():
            self._torn.first.append(f"{file.path}: line {line}: {message}")
        self.connection.execute("DROP TABLE reject_errors")
        self.connection.execute("DROP TABLE reject_scans")

    def put_aside(self) -> None:
        """Let the database put on disk what memory has no room for: all rows are taken, and their units hashed."""
        self.connection.execute(f"SET temp_directory = {literal(str(self.folder))}")

    def refusals(self) -> Refusals:
        """Return what is not taken, and why."""
        (wrong,) = self.connection.execute("SELECT count(*) FROM taken WHERE problem IS NOT NULL").fetchone() or (0,)
        found = self.connection.execute(
            f"SELECT place, row, problem FROM taken WHERE problem IS NOT NULL ORDER BY place, row LIMIT {LISTED}"
        ).fetchall()
        said = [f"{self._names[place]}: row {row}: {problem}" for place, row, problem in found]
        return Refusals(self._torn.count + wrong, [*self._torn.first, *said][:LISTED])


@contextmanager
def receiving(journal: Path, now: datetime.datetime) -> Iterator[ForeignRows]:
    """Lend a place below *journal* for rows, which nobody else has meanwhile; what is in it is removed afterwards.

    Raises:
        ImportBusyError: somebody else imports, or forgets.
        ImportFailedError: the disk, or the memory, does not do.
    """
    try:
        journal.mkdir(parents=True, exist_ok=True)
        with alone(journal) as folder:
            folder.mkdir(mode=0o700)
            try:
                with _database(folder) as connection:
                    yield ForeignRows(connection, folder, now)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError as error:
        message = f"{journal}: somebody else is importing, or forgetting; try again when they are done"
        raise ImportBusyError(message) from error
    except OSError as error:
        raise ImportFailedError(f"{journal}: {error.strerror or error}") from error
    except duckdb.Error as error:
        raise ImportFailedError(f"{journal}: {first_line(error)}") from error


@contextmanager
def alone(journal: Path) -> Iterator[Path]:
    """Keep others from importing meanwhile; lend the name of the folder that rows are in, which is not there.

    Raises:
        BlockingIOError: somebody does.
        OSError: the folder of what is being written cannot be used.
    """
    staging = journal / STAGING
    staging.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(staging, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(staging / _FOLDER, ignore_errors=True)  # of an import that was killed
        yield staging / _FOLDER
    finally:
        os.close(lock)


def _database(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        str(folder / "rows"),
        config={
            "threads": "2",
            "memory_limit": MEMORY,
            "temp_directory": "",  # while there are raw units, nothing is put aside
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _hasher(key: bytes) -> Callable[[str], bytes]:
    """Return `keys.hashed` with *key*, as fast as it goes."""
    fresh = hashlib.blake2b(key=key, digest_size=16).copy

    def hashed(unit: str) -> bytes:
        hasher = fresh()
        hasher.update(unit.encode())
        return hasher.digest()

    return hashed
