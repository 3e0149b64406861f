"""A database's answer to one query, as texts and in pieces: PostgreSQL, SQLite, DuckDB. Nothing of it is changed."""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import duckdb

from turnout_server.journal.reading import first_line
from turnout_server.vocabulary.errors import Kind, TurnoutError

PIECE_ROWS = 10_000
"""Rows that are fetched at once."""
CONNECT_S = 10
"""How long a server may take to let us in, in seconds."""
EXPECTED = "expected postgresql://..., sqlite:FILE or duckdb:FILE"


class DatabaseError(TurnoutError):
    """A database cannot be asked, or refuses the query."""

    reason = "DATABASE_FAILED"
    kind = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Found:
    """What a query found; its rows can be fetched once."""

    columns: tuple[str, ...]
    _fetch: Callable[[int], Sequence[Sequence[Any]]]
    _failures: tuple[type[Exception], ...]

    def pieces(self) -> Iterator[list[list[str | None]]]:
        """Return the rows' cells as texts, some thousands of rows at once, by column.

        Raises:
            DatabaseError: the database fails meanwhile.
        """
        while rows := self._rows():
            yield [list(map(_text, cells)) for cells in zip(*rows, strict=True)]

    def _rows(self) -> Sequence[Sequence[Any]]:
        try:
            return self._fetch(PIECE_ROWS)
        except self._failures as error:
            raise DatabaseError(_said(error)) from error


def asked(dsn: str, query: str) -> AbstractContextManager[Found]:
    """Lend what *query* finds in the database that *dsn* names.

    Args:
        dsn: `postgresql://user@host/name`, or `host=... dbname=...` as PostgreSQL's own programs take it;
            `sqlite:FILE`; `duckdb:FILE`. After `sqlite:///` a path is relative, after `sqlite:////` it is absolute.
        query: one SELECT.

    Raises:
        DatabaseError: the database is not there or lets nobody in, a driver is missing, or the query is refused.
    """
    scheme, _, rest = dsn.partition(":")
    path = rest.removeprefix("///")
    if scheme == "sqlite" and path:
        return _sqlite(path, query)
    if scheme == "duckdb" and path:
        return _duckdb(path, query)
    if scheme in ("postgresql", "postgres") or ("=" in dsn and "://" not in dsn):
        return _postgresql(dsn, query)
    raise DatabaseError(f"{scheme[:20]!r} is no database that is known here; {EXPECTED}")


@contextmanager
def _sqlite(path: str, query: str) -> Iterator[Found]:
    failures = (sqlite3.Error, sqlite3.Warning)
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)
    except failures as error:
        raise DatabaseError(f"{path}: {error}") from error
    with closing(connection):
        try:
            cursor = connection.execute(query)
        except failures as error:
            raise DatabaseError(_said(error)) from error
        yield Found(_names(cursor.description), cursor.fetchmany, failures)


@contextmanager
def _duckdb(path: str, query: str) -> Iterator[Found]:
    try:
        connection = duckdb.connect(path, read_only=True, config={"threads": 2, "memory_limit": "1GB"})
    except duckdb.Error as error:
        raise DatabaseError(_said(error)) from error
    with connection:
        try:
            connection.execute("SET TimeZone = 'UTC'")
            inner = query.strip().rstrip(";")
            connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM (\n{inner}\n)")  # not all its times are Python's
        except duckdb.Error as error:
            raise DatabaseError(_said(error)) from error
        yield Found(_names(connection.description), connection.fetchmany, (duckdb.Error,))


@contextmanager
def _postgresql(dsn: str, query: str) -> Iterator[Found]:
    try:
        psycopg = importlib.import_module("psycopg")
        strings = importlib.import_module("psycopg.types.string")
    except ImportError as error:
        raise DatabaseError("PostgreSQL needs a driver: pip install 'psycopg[binary]'") from error
    try:
        connection = psycopg.connect(dsn, connect_timeout=CONNECT_S)
    except psycopg.Error as error:
        raise DatabaseError(_said(error)) from error
    # The server keeps the rows until they are fetched, since the cursor has a name.
    with closing(connection), closing(connection.cursor(name="turnout")) as cursor:
        try:
            connection.read_only = True
            for kind in psycopg.adapters.types:  # as texts: not all its times and numbers are Python's
                cursor.adapters.register_loader(kind.oid, strings.TextLoader)
            connection.execute("SET TIME ZONE 'UTC'")
            connection.execute("SET datestyle = 'ISO, YMD'")
            cursor.execute(query.strip().rstrip(";"))
        except psycopg.Error as error:
            raise DatabaseError(_said(error)) from error
        yield Found(_names(cursor.description), cursor.fetchmany, (psycopg.Error,))


def _names(description: Any) -> tuple[str, ...]:
    if not description:
        raise DatabaseError("the query returns no rows of any kind; expected a SELECT")
    return tuple(str(column[0]) for column in description)


def _text(cell: Any) -> str | None:
    match cell:
        case None | str():
            return cell
        case bytes():
            return cell.decode(errors="backslashreplace")
        case _:
            return str(cell)


def _said(error: Exception) -> str:
    return first_line(error) or type(error).__name__
