"""Which column of somebody's table is which field of ours, and what its cells have to be, as SQL.

Cells are looked at as text, whatever they come from: so CSV, Parquet and databases are read by the same rules.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from turnout_server.journal.reading import literal
from turnout_server.vocabulary.errors import InvalidRequestError
from turnout_server.vocabulary.units import UNIT_LIMIT

AHEAD_S = 300
"""How far ahead of our clock a time may be, in seconds."""
TEXT_LIMIT = 256
"""Characters of a text that is neither a unit nor an id."""
_SHOWN = 40
"""Characters of a wrong cell that are shown."""


class ForeignTableError(InvalidRequestError):
    """Somebody's table cannot be imported; the message says which, where, and what was expected."""

    reason = "FOREIGN_TABLE_INVALID"


@dataclass(frozen=True, slots=True)
class Field:
    """What one of our columns takes."""

    name: str
    kind: str
    """Its type, as DuckDB calls it; `UNIT` is a text that is hashed."""
    expected: str
    """What a cell has to be, in words."""
    check: str = "true"
    """What has to hold of the `value`, as SQL."""
    is_required: bool = False
    """Whether an empty cell is refused."""
    default: str = "NULL"
    """SQL for empty cells, and where no column is the field's."""
    without: str | None = None
    """SQL where no column is the field's, if that differs from `default`; a required field may then have none."""

    @property
    def stored(self) -> str:
        """DuckDB's type of what is kept."""
        return "BLOB" if self.kind == "UNIT" else self.kind


def text(name: str, limit: int = TEXT_LIMIT, *, is_required: bool = False, default: str = "NULL") -> Field:
    """Return a field of at most *limit* characters."""
    expected = f"at most {limit} characters"
    return Field(name, "VARCHAR", expected, f"length(value) <= {limit}", is_required=is_required, default=default)


def count(name: str, kind: str = "BIGINT", *, default: str = "NULL") -> Field:
    """Return a field of whole numbers from 0."""
    return Field(name, kind, "a whole number from 0", "value >= 0", default=default)


def moment(name: str, *, is_required: bool = False, default: str = "NULL") -> Field:
    """Return a field of times."""
    expected = "a time from 2000 on, not over 5 minutes ahead: ISO 8601, or seconds, ms, µs or ns since 1970"
    check = "value >= TIMESTAMPTZ '2000-01-01 00:00:00+00' AND value <= latest"
    return Field(name, "TIMESTAMPTZ", expected, check, is_required=is_required, default=default)


UNIT = Field("unit", "UNIT", f"at most {UNIT_LIMIT} characters", f"length(value) <= {UNIT_LIMIT}")


@dataclass(frozen=True, slots=True)
class Plan:
    """Where each field of a table comes from."""

    fields: Sequence[Field]
    columns: Mapping[str, str]
    """By field, the table's column."""
    constants: Mapping[str, str]
    """By field, a text that all rows have."""
    derived: tuple[str, Sequence[str]] | None = None
    """A field, and the columns whose cells together make it, hashed with the key."""
    unused: tuple[str, ...] = ()
    """The table's columns that are nobody's."""

    def select(self, source: str, place: int, now: datetime.datetime) -> str:
        """Return SQL for the rows of *source*, checked: `place`, `row` from 1, `problem`, then the fields.

        Args:
            source: what stands behind FROM. Its order is kept.
            place: which of several tables it is.
            now: what times must not be ahead of; with a zone.

        The SQL calls `hashed(VARCHAR) -> BLOB`. A problem never has a unit in it.
        """
        latest = now + datetime.timedelta(seconds=AHEAD_S)
        raw = ", ".join(f"{self._raw(field)} AS {_name('raw', field)}" for field in self.fields)
        typed = ", ".join(f"{_typed(field)} AS {_name('value', field)}" for field in self.fields)
        problems = ", ".join(self._problem(field) for field in self.fields)
        kept = ", ".join(f'{self._kept(field)} AS "{field.name}"' for field in self.fields)
        return (
            f"SELECT {place}::INTEGER AS place, row, coalesce({problems}) AS problem, {kept}"
            f" FROM (SELECT *, {typed}, TIMESTAMPTZ {literal(latest.isoformat())} AS latest"
            f" FROM (SELECT row_number() OVER () AS row, {raw} FROM {source}))"
        )

    def _raw(self, field: Field) -> str:
        if field.name in self.constants:
            return literal(self.constants[field.name])
        if self.derived is not None and field.name == self.derived[0]:
            cells = ", ".join(f"CAST({quoted(column)} AS VARCHAR)" for column in self.derived[1])
            return f"CASE WHEN coalesce({cells}) IS NOT NULL THEN left(lower(hex(hashed(to_json([{cells}])))), 32) END"
        if field.name in self.columns:
            return f"nullif(CAST({quoted(self.columns[field.name])} AS VARCHAR), '')"
        return "NULL::VARCHAR"

    def _has(self, field: Field) -> bool:
        is_derived = self.derived is not None and field.name == self.derived[0]
        return is_derived or field.name in self.columns or field.name in self.constants

    def _problem(self, field: Field) -> str:
        raw, value = _name("raw", field), _name("value", field)
        check = field.check.replace("value", value)
        found = f"length({raw}) || ' characters'" if field.kind == "UNIT" else _cell(raw)
        wrong = f"{literal(f'{field.name}: ')} || {found} || {literal(f'; expected {field.expected}')}"
        cases = [f"WHEN {raw} IS NOT NULL AND ({value} IS NULL OR NOT ({check})) THEN {wrong}"]
        if field.is_required and self._has(field):
            cases.append(f"WHEN {raw} IS NULL THEN {literal(f'{field.name}: nothing; expected a value')}")
        return f"CASE {' '.join(cases)} END"

    def _kept(self, field: Field) -> str:
        value = _name("value", field)
        if field.kind == "UNIT":
            return f"hashed({value})"
        if field.without is not None and not self._has(field):
            return f"({field.without})::{field.stored}"
        return f"coalesce({value}, {field.default})::{field.stored}"


def plan(
    fields: Sequence[Field],
    columns: Sequence[str],
    pairs: Iterable[str] = (),
    constants: Mapping[str, str] | None = None,
    derived: tuple[str, Sequence[str]] | None = None,
    place: str = "the table",
) -> Plan:
    """Return where the fields of a table with *columns* come from: from columns of their names, unless told otherwise.

    Args:
        fields: what we take.
        columns: what the table has.
        pairs: `column=field`, each.
        constants: by field, what all rows have.
        derived: a field, and the columns that together make it.
        place: what the table is called in errors.

    Raises:
        ForeignTableError: a pair names no column or no field, two are for one field, a required field has nothing.
    """
    constants = dict(constants or {})
    by_name = {field.name: field for field in fields}
    called = [column.lower() for column in columns]  # as the database compares them
    if twice := [column for column in columns if called.count(column.lower()) > 1]:
        raise ForeignTableError(f"{place}: {len(twice)} columns are called {twice[0]!r}, but for upper and lower case")
    found: dict[str, str] = {}
    for pair in pairs:
        column, is_pair, field = pair.rpartition("=")
        if not is_pair or not column:
            raise ForeignTableError(f"--map {pair}: expected column=field")
        if field not in by_name:
            raise ForeignTableError(f"--map {pair}: no field {field!r}; expected one of {', '.join(by_name)}")
        _known(column, columns, place)
        if field in found or field in constants or (derived is not None and field == derived[0]):
            raise ForeignTableError(f"--map {pair}: {field} is given twice")
        found[field] = column
    taken = {*found, *found.values(), *constants, *((derived[0],) if derived is not None else ())}
    found |= {name: name for name in by_name if name in columns and name not in taken}
    for column in derived[1] if derived is not None else ():
        _known(column, columns, place)
    given = {*found, *constants, *((derived[0],) if derived is not None else ())}
    missing = [
        field.name for field in fields if field.is_required and field.without is None and field.name not in given
    ]
    if missing:
        raise ForeignTableError(
            f"{place}: no column for {', '.join(missing)}: say --map column={missing[0]}; {_has(columns)}"
        )
    used = {*found.values(), *(derived[1] if derived is not None else ())}
    return Plan(fields, found, constants, derived, tuple(column for column in columns if column not in used))


def _known(column: str, columns: Sequence[str], place: str) -> None:
    if column not in columns:
        raise ForeignTableError(f"{place}: no column {column!r}; {_has(columns)}")


def _has(columns: Sequence[str]) -> str:
    return f"it has {', '.join(columns) or 'no columns'}"


def quoted(name: str) -> str:
    """Return *name* as SQL writes names."""
    return '"' + name.replace('"', '""') + '"'


def _name(what: str, field: Field) -> str:
    return quoted(f"{what}_{field.name}")


def _typed(field: Field) -> str:
    raw = _name("raw", field)
    if field.kind in ("VARCHAR", "UNIT"):
        return raw
    if field.kind in ("BIGINT", "INTEGER"):  # a cast alone would round 1.5, and take 0x10
        whole = rf"regexp_full_match(trim({raw}), '[+-]?\d+(\.0*)?')"
        return f"CASE WHEN {whole} THEN TRY_CAST({raw} AS {field.kind}) END"
    if field.kind == "TIMESTAMPTZ":
        return _time(raw)
    return f"TRY_CAST({raw} AS {field.kind})"


def _time(raw: str) -> str:
    """Return SQL for a time: digits alone are since 1970, in the unit that puts them into the years 2000 to 2100."""
    number = f"TRY_CAST({raw} AS BIGINT)"
    scales = {1: "* 1000000", 1_000: "* 1000", 1_000_000: "", 1_000_000_000: "// 1000"}
    cases = " ".join(
        f"WHEN {number} BETWEEN {946_684_800 * scale} AND {4_102_444_800 * scale}"
        f" THEN make_timestamptz({number} {to_micros})"
        for scale, to_micros in scales.items()
    )
    is_number = rf"regexp_full_match(trim({raw}), '\d+')"
    return f"CASE WHEN {is_number} THEN CASE {cases} END ELSE TRY_CAST({raw} AS TIMESTAMPTZ) END"


def _cell(raw: str) -> str:
    return f"'''' || left({raw}, {_SHOWN}) || CASE WHEN length({raw}) > {_SHOWN} THEN '...' ELSE '' END || ''''"
