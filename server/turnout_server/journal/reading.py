"""The journal as SQL: the view `records`, on a connection that can read the segments and nothing else.

Others keep files below a journal, too: they are `View`s beside it.

DuckDB takes a quarter of a second to import; only what asks the journal imports this module.
"""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from turnout_server.journal.schema import COLUMNS, FOLDERS, SEGMENTS
from turnout_server.vocabulary.errors import InvalidRequestError, Kind, TurnoutError

_MAGIC = b"PAR1"
ATTEMPTS = 10
"""How often is read again what somebody replaces meanwhile."""


class JournalQueryError(InvalidRequestError):
    """The journal cannot answer this; the message is the database's, on one line."""

    reason = "QUERY_INVALID"


class JournalReadError(TurnoutError):
    """The journal's files change or break faster than they can be read."""

    reason = "JOURNAL_UNREADABLE"
    kind = Kind.UNAVAILABLE


class View(NamedTuple):
    """Parquet files below a journal as one table."""

    name: str
    """In SQL."""
    files: str
    """A glob, below the journal; its folders are `FOLDERS`."""
    columns: Mapping[str, str]
    """With DuckDB's names for their types."""


RECORDS = View("records", SEGMENTS, COLUMNS)


class Segments(NamedTuple):
    """The segments of a journal, as found."""

    readable: tuple[Path, ...]
    unreadable: Mapping[Path, str]
    """What is wrong, by file."""
    beside: tuple[tuple[View, tuple[Path, ...]], ...] = ()
    """The readable files of other views."""

    @property
    def views(self) -> tuple[tuple[View, tuple[Path, ...]], ...]:
        """All views with their files."""
        return ((RECORDS, self.readable), *self.beside)

    @property
    def files(self) -> tuple[Path, ...]:
        """All readable files."""
        return tuple(file for _, files in self.views for file in files)


class Answer(NamedTuple):
    """What a query found."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    files: tuple[Path, ...]
    """The segments that it read."""
    unreadable: Mapping[Path, str]
    """The files that it did without, and why."""


def segments(journal: Path, beside: Sequence[View] = ()) -> Segments:
    """Return the segments in *journal* by name; each is opened to see that it is whole from its first byte to its last.

    What vanishes meanwhile is left out. A journal that is not there has no segments. The files of views *beside* it are
    looked at likewise.
    """
    unreadable: dict[Path, str] = {}
    readable = _whole(journal.glob(SEGMENTS), unreadable)
    return Segments(
        readable, unreadable, tuple((view, _whole(journal.glob(view.files), unreadable)) for view in beside)
    )


def _whole(files: Iterable[Path], unreadable: dict[Path, str]) -> tuple[Path, ...]:
    """Return those of *files* that are; note what is wrong with the others."""
    readable: list[Path] = []
    for file in sorted(files):
        try:
            problem = _envelope(file)
        except FileNotFoundError:
            continue
        except OSError as error:
            problem = error.strerror or str(error)
        if problem is None:
            readable.append(file)
        else:
            unreadable[file] = problem
    return tuple(readable)


def _envelope(file: Path) -> str | None:
    """Return what is wrong with the outside of *file*: a Parquet file starts and ends with the same four bytes."""
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        if size < 12:
            return f"cut off: {size} bytes"
        opened.seek(0)
        if opened.read(4) != _MAGIC:
            return "not a Parquet file"
        opened.seek(-8, 2)
        end = opened.read(8)
    if end[4:] != _MAGIC:
        return "cut off: no footer"
    return "damaged footer" if int.from_bytes(end[:4], "little") > size - 12 else None


def connect(journal: Path, beside: Sequence[View] = ()) -> duckdb.DuckDBPyConnection:
    """Return a connection with the view `records` over what can be read of *journal*, and no other way out of it.

    Views *beside* it are there, too.
    """
    found = _checked(segments(journal, beside))
    return connect_to(found.readable, found.beside)


def connect_to(files: Sequence[Path], beside: Sequence[tuple[View, Sequence[Path]]] = ()) -> duckdb.DuckDBPyConnection:
    """Return a connection with the view `records` over *files*, and with other views over theirs.

    It reads these files and no others, writes nothing, and loads no extensions; its settings are locked.

    Raises:
        duckdb.Error: a file's footer cannot be read.
    """
    connection = unlocked()
    try:
        views = ((RECORDS, files), *beside)
        every = [file for _, these in views for file in these]
        allowed = {*(str(file.absolute()) for file in every), *map(pattern, every)}
        connection.execute(f"SET allowed_paths = [{', '.join(map(literal, allowed))}]")
        connection.execute("SET enable_external_access = false")
        for view, these in views:
            connection.execute(definition(view, these))
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def unlocked() -> duckdb.DuckDBPyConnection:
    """Return a connection for statements of our own, which may read and write whatever this process may."""
    connection = duckdb.connect(
        config={
            "threads": "2",
            "memory_limit": "1GB",
            "temp_directory": "",
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
            "allow_community_extensions": "false",
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    # What takes longer than two seconds would draw on stdout, where DuckDB takes the interpreter for interactive.
    connection.execute("SET enable_progress_bar = false")
    return connection


def definition(view: View, files: Sequence[Path]) -> str:
    """Return the statement that makes *view* over *files*."""
    listed = [literal(pattern(file)) for file in files]
    # The empty table comes first, so that all columns are there whatever the files have, in the documented order.
    known = {**view.columns, **FOLDERS}
    nothing = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in known.items())
    source = f"SELECT {nothing} WHERE false"
    if listed:
        folders = ", ".join(f"{name}: {kind}" for name, kind in FOLDERS.items())
        source += (
            f" UNION ALL BY NAME FROM read_parquet([{', '.join(listed)}], union_by_name = true,"
            f" hive_partitioning = true, hive_types = {{{folders}}})"
        )
    cast = ", ".join(f'"{name}"::{kind} AS "{name}"' for name, kind in known.items())
    excluded = ", ".join(f'"{name}"' for name in known)
    others = ", * EXCLUDE (" + excluded + ")" if listed else ""
    return f"CREATE VIEW {view.name} AS SELECT {cast}{others} FROM ({source})"


def pattern(file: Path) -> str:
    """Return what DuckDB has to be given to read *file*: a journal's own path may have stars in it."""
    return glob.escape(str(file.absolute()))


def literal(text: str) -> str:
    """Return *text* as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def problem_of(connection: duckdb.DuckDBPyConnection, file: Path, columns: Mapping[str, str] = COLUMNS) -> str | None:
    """Return what is wrong with a segment, having read all of it; None for a segment that is in order.

    Args:
        connection: one that may read it.
        file: which.
        columns: those that it should have, where it has them, with their types.

    Raises:
        FileNotFoundError: it is gone.
    """
    outside = _envelope(file)
    if outside is not None:
        return outside
    name = pattern(file)
    try:
        described = connection.execute(
            "SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet($1, hive_partitioning = false))", [name]
        ).fetchall()
        types = dict(described)
        for column, kind in columns.items():
            found = types.get(column, kind)
            if found not in (kind, _LONG.get(kind, kind)):
                return f"column {column} is {found}, not {kind}"
        # A hash of each row needs every byte of every column.
        connection.execute("SELECT max(hash(whole)) FROM read_parquet($1) AS whole", [name]).fetchall()
    except duckdb.Error as error:
        if not file.exists():
            raise FileNotFoundError(str(file)) from error
        return first_line(error).replace(f'Failed to read file "{file.absolute()}": ', "")
    return None


_LONG: Mapping[str, str] = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}


def _checked(found: Segments) -> Segments:
    """Return *found* as it is where all footers can be read, and otherwise without the files that are damaged."""
    try:
        connect_to(found.readable, found.beside).close()
    except duckdb.Error:
        return _sifted(found)
    return found


def _sifted(found: Segments) -> Segments:
    """Read every segment whole, and return those that could be."""
    unreadable = dict(found.unreadable)

    def sound(view: View, files: Sequence[Path]) -> Iterator[Path]:
        for file in files:
            try:
                problem = problem_of(connection, file, view.columns)
            except OSError:
                continue
            if problem is None:
                yield file
            else:
                unreadable[file] = problem

    with unlocked() as connection:
        (_, readable), *beside = ((view, tuple(sound(view, files))) for view, files in found.views)
    return Segments(readable, unreadable, tuple(beside))


def check_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """See that *sql* is one statement that only reads: SELECT, FROM, VALUES, WITH, DESCRIBE, SUMMARIZE.

    Raises:
        JournalQueryError: it is not.
    """
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise JournalQueryError(first_line(error)) from error
    if len(statements) != 1:
        raise JournalQueryError(f"{len(statements)} statements; expected one SELECT")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise JournalQueryError(f"{statements[0].type.name} is not allowed here; expected a SELECT")


def query(
    journal: Path,
    sql: str,
    parameters: Mapping[str, object] | None = None,
    *,
    known: Collection[Path] = (),
    beside: Sequence[View] = (),
) -> Answer:
    """Return what *sql* finds in the view `records`, without the files that are damaged or vanish.

    Args:
        journal: its directory.
        sql: one SELECT.
        parameters: values for `$name` in it.
        known: segments that are not to be read again.
        beside: other views that it may speak of.

    Raises:
        JournalQueryError: it is not one SELECT, or the database refuses it.
        JournalReadError: files kept vanishing.
    """
    found = _unknown(segments(journal, beside), known)
    for _ in range(ATTEMPTS):
        # The database opens a file more than once: one that `forget` replaces in between is read as two halves.
        stamps = stamps_of(found.files)
        try:
            with connect_to(found.readable, found.beside) as connection:
                check_statement(connection, sql)
                cursor = connection.execute(sql, dict(parameters) if parameters else None)
                names = tuple(column[0] for column in cursor.description or ())
                answer = Answer(names, cursor.fetchall(), found.files, found.unreadable)
            if stamps_of(found.files) == stamps:
                return answer
            found = _unknown(segments(journal, beside), known)
        except duckdb.Error as error:
            if stamps_of(found.files) != stamps:
                found = _unknown(segments(journal, beside), known)
                continue
            # Either the query is wrong, or a file is. Reading them all tells, and is done only now.
            again = _sifted(_unknown(segments(journal, beside), known))
            if again.files == found.files and stamps_of(found.files) == stamps:
                raise JournalQueryError(first_line(error)) from error
            found = again
    raise JournalReadError(f"{journal}: files keep changing; try again")


def stamps_of(files: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    """Return what tells whether somebody has replaced one of *files* meanwhile."""
    stamps: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            now = file.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((now.st_ino, now.st_mtime_ns, now.st_size))
    return stamps


def _unknown(found: Segments, known: Collection[Path]) -> Segments:
    return found._replace(readable=tuple(file for file in found.readable if file not in known)) if known else found


def first_line(error: Exception) -> str:
    """Return the database's message on one line, without the picture of where in the query it is."""
    lines = str(error).split("\n\n", 1)[0].splitlines()
    return " ".join(line.strip() for line in lines if line.strip())
