"""Cells are taken by what they mean, and refused in words that say what was expected; a unit is never in them."""

from __future__ import annotations

import datetime
from typing import Any

import duckdb
import pytest

from turnout_server.journal.mapping import UNIT, Field, ForeignTableError, count, moment, plan, text

NOW = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)
FIELDS = (
    moment("ts"),
    UNIT,
    text("name", 5, is_required=True),
    count("number", default="7"),
    Field("share", "DOUBLE", "above 0, at most 1", "value > 0 AND value <= 1"),
    Field("flag", "BOOLEAN", "true or false", default="true"),
    Field("twin", "VARCHAR", "any", without='"value_name"'),
)


def taken(**cells: Any) -> dict[str, Any]:
    """Return what becomes of one row, whose columns are called as fields."""
    cells = {"name": "x", **cells}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.create_function("hashed", lambda unit: unit.encode()[::-1], ["VARCHAR"], "BLOB")
        columns = ", ".join(f'${name} AS "{name}"' for name in cells)
        sql = plan(FIELDS, tuple(cells)).select(f"(SELECT {columns})", 3, NOW)
        cursor = connection.execute(sql, cells)
        return dict(zip([one[0] for one in cursor.description or ()], cursor.fetchone() or (), strict=True))


@pytest.mark.parametrize(
    "cell",
    [
        "2026-11-28T06:00:00Z",
        "2026-11-28 06:00",
        "2026-11-28T07:00:00+01:00",
        datetime.datetime(2026, 11, 28, 6),
        datetime.datetime(2026, 11, 28, 6, tzinfo=datetime.UTC),
        1795845600,
        "1795845600000",
        1795845600000000,
        1795845600000000000,
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise_and_a_number_says_its_own_unit(cell: object) -> None:
    found = taken(ts=cell)
    assert (found["problem"], found["ts"]) == (None, datetime.datetime(2026, 11, 28, 6, tzinfo=datetime.UTC))


@pytest.mark.parametrize(
    "cell", ["yesterday", "28/11/2026", "2026-02-30", "20261128", "1795845600.5", "infinity", "-infinity", "1999-12-31"]
)
def test_what_is_no_time_is_refused(cell: str) -> None:
    problem = taken(ts=cell)["problem"]
    assert problem.startswith(f"ts: '{cell}'; expected a time")


def test_a_time_may_be_five_minutes_ahead_and_no_more() -> None:
    assert taken(ts=NOW + datetime.timedelta(seconds=300))["problem"] is None
    assert taken(ts=NOW + datetime.timedelta(seconds=300, microseconds=1))["problem"] is not None


def test_units_are_hashed_and_a_refused_one_is_not_repeated() -> None:
    assert taken(unit="ann")["unit"] == b"nna"
    assert taken(unit="")["unit"] is None
    problem = taken(unit="secret" * 200)["problem"]
    assert problem == "unit: 1200 characters; expected at most 1024 characters"


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"name": None}, "name: nothing; expected a value"),
        ({"name": ""}, "name: nothing; expected a value"),
        ({"name": "abcdef"}, "name: 'abcdef'; expected at most 5 characters"),
        ({"number": "1.5"}, "number: '1.5'; expected a whole number from 0"),
        ({"number": "0x10"}, "number: '0x10'; expected a whole number from 0"),
        ({"number": "99999999999999999999"}, "number: '99999999999999999999'; expected a whole number from 0"),
        ({"number": -1}, "number: '-1'; expected a whole number from 0"),
        ({"share": "nan"}, "share: 'nan'; expected above 0, at most 1"),
        ({"share": 0}, "share: '0'; expected above 0, at most 1"),
        ({"share": "x" * 50}, f"share: '{'x' * 40}...'; expected above 0, at most 1"),
        ({"flag": "maybe"}, "flag: 'maybe'; expected true or false"),
    ],
)
def test_a_refusal_names_the_field_what_was_found_and_what_was_expected(cells: dict[str, Any], problem: str) -> None:
    assert taken(**cells)["problem"] == problem


def test_empty_cells_and_columns_that_are_not_there_have_defaults() -> None:
    found = taken(number="", flag=None)
    assert (found["number"], found["flag"], found["share"], found["twin"]) == (7, True, None, "x")
    assert taken(twin="")["twin"] is None  # a column that is there and says nothing means it
    assert taken(number="3.0")["number"] == 3  # as tables have whole numbers with gaps


def test_columns_of_a_fields_name_are_its_own_unless_told_otherwise() -> None:
    found = plan(FIELDS, ("name", "who", "other", "number"), ["who=unit", "other=name"])
    assert found.columns == {"unit": "who", "name": "other", "number": "number"}
    assert found.unused == ("name",)


def test_a_column_may_have_any_name() -> None:
    assert plan(FIELDS, ('a=b"c', "name"), ['a=b"c=unit']).columns["unit"] == 'a=b"c'


@pytest.mark.parametrize(
    ("columns", "pairs", "message"),
    [
        (("x",), ["x=nope"], "no field 'nope'; expected one of ts, unit"),
        (("name",), ["y=unit"], "no column 'y'; it has name"),
        (("name", "x", "y"), ["x=unit", "y=unit"], "unit is given twice"),
        (("name",), ["unit"], "expected column=field"),
        (("x", "X", "name"), [], "2 columns are called 'x'"),
        (("x",), [], "no column for name: say --map column=name; it has x"),
        (("name",), ["name=ts"], "no column for name"),
    ],
)
def test_what_cannot_be_mapped_is_said(columns: tuple[str, ...], pairs: list[str], message: str) -> None:
    with pytest.raises(ForeignTableError, match=message):
        plan(FIELDS, columns, pairs)


def test_a_derived_id_depends_on_every_cell_and_on_which_cell_it_is() -> None:
    ids = set()
    for one, other in [("a", "b"), ("ab", ""), ("", "ab"), ("b", "a"), ("a", "b")]:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.create_function("hashed", lambda unit: unit.encode(), ["VARCHAR"], "BLOB")
            sql = plan(FIELDS, ("a", "b"), derived=("name", ("a", "b"))).select("(SELECT $1 AS a, $2 AS b)", 0, NOW)
            ids.add((connection.execute(f"SELECT name FROM ({sql})", [one, other]).fetchone() or ("",))[0])
    assert len(ids) == 4
