"""Each database gives its rows as texts, all of them, and is not changed."""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from turnout_server.outcomes.databases import DatabaseError, asked

MANY = 25_000


def cells(dsn: str, query: str) -> tuple[tuple[str, ...], list[tuple[str | None, ...]]]:
    with asked(dsn, query) as found:
        return found.columns, [row for piece in found.pieces() for row in zip(*piece, strict=True)]


@pytest.fixture
def lite(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "it's 1?.db") as database:
        database.execute("CREATE TABLE t (a INTEGER, b REAL, c TEXT, d BLOB, e)")
        database.execute("INSERT INTO t VALUES (1, 0.1, 'ä', x'c3a4', NULL)")
    return f"sqlite:{tmp_path}/it's 1?.db"


def test_sqlite_gives_texts(lite: str) -> None:
    assert cells(lite, "SELECT * FROM t;") == (("a", "b", "c", "d", "e"), [("1", "0.1", "ä", "ä", None)])


def test_duckdb_gives_texts_in_utc(tmp_path: Path) -> None:
    duckdb.connect(tmp_path / "a.duckdb").close()
    query = (
        "SELECT 1.50::DECIMAL(4,2) AS a, TIMESTAMPTZ '2026-11-28 07:00+01' AS b, 'infinity'::TIMESTAMP AS c, 'x' -- ;"
    )
    found = cells(f"duckdb:{tmp_path}/a.duckdb", query)
    assert found[1][0][:3] == ("1.50", "2026-11-28 06:00:00+00", "infinity")


def test_all_rows_come_however_many_there_are(tmp_path: Path, lite: str) -> None:
    duckdb.connect(tmp_path / "a.duckdb").close()
    assert len(cells(f"duckdb:{tmp_path}/a.duckdb", f"SELECT i FROM range({MANY}) r(i)")[1]) == MANY
    count = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) SELECT i FROM n"
    assert [int(i or 0) for (i,) in cells(lite, count)[1]] == list(range(1, MANY + 1))


@pytest.mark.parametrize(
    "query", ["DELETE FROM t", "DROP TABLE t", "INSERT INTO t (a) VALUES (2)", "SELEC", "SELECT x"]
)
def test_a_database_is_not_changed(lite: str, query: str) -> None:
    with pytest.raises(DatabaseError):
        cells(lite, query)
    assert len(cells(lite, "SELECT * FROM t")[1]) == 1


def test_duckdb_is_not_changed(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "a.duckdb") as database:
        database.execute("CREATE TABLE t AS SELECT 1 AS a")
    for query in ("DROP TABLE t", "SELECT 1) TO 'x", "SELECT 1; DROP TABLE t"):
        with pytest.raises(DatabaseError):
            cells(f"duckdb:{tmp_path}/a.duckdb", query)
    assert cells(f"duckdb:{tmp_path}/a.duckdb", "FROM t")[1] == [("1",)]


@pytest.mark.parametrize("dsn", ["sqlite:", "duckdb:", "mysql://x", "", "nonsense", "sqlite"])
def test_what_names_no_database_is_refused(dsn: str) -> None:
    with pytest.raises(DatabaseError, match="expected postgresql://"):
        asked(dsn, "SELECT 1")


@pytest.mark.parametrize("scheme", ["sqlite", "duckdb"])
def test_a_database_that_is_not_there_is_not_made(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(DatabaseError):
        cells(f"{scheme}:{tmp_path}/nowhere", "SELECT 1")
    assert not list(tmp_path.iterdir())


def test_after_three_slashes_a_path_is_as_it_is_written(lite: str) -> None:
    assert len(cells(lite.replace("sqlite:", "sqlite:///"), "SELECT * FROM t")[1]) == 1


def test_a_missing_driver_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseError, match=r"pip install 'psycopg\[binary\]'"):
        cells("postgresql://nowhere/x", "SELECT 1")


# ---------------------------------------------------------------- a real server


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL server of the test's own, on a socket in a folder of its own; the fixture is its DSN."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("there is no PostgreSQL server on this machine (Debian: postgresql)")
    user = None  # the server refuses to run as root
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="turnout-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = str(folder / "data")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"

        def ran(*command: str) -> None:
            subprocess.run(command, check=True, user=user, cwd=folder, timeout=120, stdout=subprocess.DEVNULL)

        ran(initdb, "-D", data, "-U", "shop", "-A", "trust", "-E", "UTF8", "--no-sync")
        ran(pg_ctl, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "-t", "60", "start")
        try:
            yield f"host={folder} user=shop dbname=postgres"
        finally:
            ran(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_postgresql_gives_texts_in_utc(server: str) -> None:
    query = (
        "SELECT 1 AS a, 0.1::float8 AS b, 'ä' AS c, TIMESTAMPTZ '2026-11-28 07:00+01' AS d,"
        " 'infinity'::timestamptz AS e, 'NaN'::numeric AS f, NULL::text AS g, true AS h, DATE '2026-11-28' AS i,"
        " '100%' AS j;"
    )
    texts = ("1", "0.1", "ä", "2026-11-28 06:00:00+00", "infinity", "NaN", None, "t", "2026-11-28", "100%")
    assert cells(server, query) == (tuple("abcdefghij"), [texts])


def test_postgresql_keeps_the_rows_until_they_are_fetched(server: str) -> None:
    with asked(server, "SELECT i, repeat('x', 1000) AS x FROM generate_series(1, 3000000) AS s(i)") as found:
        assert len(next(found.pieces())[0]) == 10_000  # and 3 GB are still where they were


def test_all_rows_come_from_postgresql(server: str) -> None:
    found = cells(server, f"SELECT i FROM generate_series(1, {MANY}) AS s(i)")[1]
    assert [int(i or 0) for (i,) in found] == list(range(1, MANY + 1))


@pytest.mark.parametrize("query", ["CREATE TABLE t (a int)", "SELEC", "SELECT nope", "SELECT 1; SELECT 2"])
def test_postgresql_is_only_asked(server: str, query: str) -> None:
    with pytest.raises(DatabaseError):
        cells(server, query)


def test_a_query_that_fails_on_its_way_is_an_error(server: str) -> None:
    with pytest.raises(DatabaseError, match="division by zero"):
        cells(server, "SELECT 1 / (20000 - i) FROM generate_series(1, 30000) AS s(i)")


def test_a_server_that_is_not_there_is_an_error(server: str) -> None:
    with pytest.raises(DatabaseError):
        cells("host=/nowhere dbname=x", "SELECT 1")
