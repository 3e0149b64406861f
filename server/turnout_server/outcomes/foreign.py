"""Outcomes that somebody else keeps, as files beside the service's own: from CSV, Parquet and databases.

They have ids, so that none is taken twice: what an earlier file has with the same content is left out.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arro3.core import Array, DataType, RecordBatch, Schema, Table
from arro3.core import Field as Column

from turnout_server.journal import hourly
from turnout_server.journal.boot import Boot
from turnout_server.journal.foreign_rows import ForeignRows, Refusals, foreign_file, key_for, receiving
from turnout_server.journal.keys import key_id
from turnout_server.journal.mapping import UNIT, Field, ForeignTableError, Plan, moment, plan, text
from turnout_server.journal.reading import literal, pattern
from turnout_server.journal.segments import SegmentFiles
from turnout_server.outcomes.databases import asked
from turnout_server.outcomes.outcome import ID_LIMIT
from turnout_server.outcomes.schema import COLUMNS, FILES, FOLDER, VERSION
from turnout_server.vocabulary.names import NAME_PATTERN
from turnout_server.vocabulary.units import UNIT_LIMIT

INSTANCE = SOURCE = "import"
_IS_NAME = f"regexp_full_match(value, {literal(NAME_PATTERN.replace(chr(92) + 'Z', '$'))})"
FIELDS = (
    Field("outcome_id", "VARCHAR", f"at most {ID_LIMIT} bytes", f"strlen(value) <= {ID_LIMIT}", is_required=True),
    UNIT,
    text("request_id", UNIT_LIMIT),
    moment("ts", is_required=True),
    Field("name", "VARCHAR", "1 to 63 of a-z, 0-9, '.', '_', '-', the ends no sign", _IS_NAME, is_required=True),
    Field("value", "DOUBLE", "a finite number", "isfinite(value)", is_required=True, without="1"),
    moment("ingested"),
)
"""What a table of outcomes may say."""
_CONTENT = ("unit", "request_id", "ts", "name", "value")
"""What two outcomes of one id have in common, or one of them is wrong."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import of outcomes did."""

    rows: int = 0
    """New ones, in its files."""
    files: int = 0
    duplicates: int = 0
    """Left out: the same id and content was there already, or came twice."""
    conflicts: int = 0
    """Ids that have another content, too; all of it is kept, and none of it counts in an analysis."""
    refused: Refusals = field(default_factory=Refusals)
    is_new_key: bool = False
    """Whether the journal had no key, and got one."""
    unused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By table, columns that were not imported."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How tables are to be read."""

    pairs: Sequence[str] = ()
    """`column=field`, each; a column that is called as a field is that field's."""
    name: str | None = None
    """The name of all outcomes; None where a column says it."""
    id_from: Sequence[str] = ()
    """Columns that together tell outcomes apart; none where a column has their ids."""
    key_file: Path | None = None
    """What units are hashed with; None for the journal's own key."""
    skip_bad: bool = False
    """Import the other rows where some are refused."""

    def plan(self, columns: Sequence[str], place: str) -> Plan:
        """Return where the fields of a table with *columns*, which errors call *place*, come from.

        Raises:
            ForeignTableError: a field has no column.
        """
        constants = {"name": self.name} if self.name is not None else {}
        derived = ("outcome_id", tuple(self.id_from)) if self.id_from else None
        found = plan(FIELDS, columns, self.pairs, constants, derived, place)
        if not {"unit", "request_id"} & found.columns.keys():
            raise ForeignTableError(f"{place}: no column for unit, nor for request_id; it has {', '.join(columns)}")
        return found


def import_files(journal: Path, paths: Sequence[Path], terms: Terms, now: datetime.datetime | None = None) -> Imported:
    """Import CSV and Parquet files: all of their rows, or none where one is refused. May be repeated.

    Args:
        journal: its directory, which is made where it is not there.
        paths: the files.
        terms: how they are to be read.
        now: what times must not be ahead of, and when rows were ingested that don't say it; None for the present.

    Raises:
        ForeignTableError: a file cannot be read, or a field has no column.
        ConfigurationError: the key cannot be used.
        ImportBusyError: somebody else imports, or forgets.
        ImportFailedError: the journal cannot be written.
    """
    files = [foreign_file(path) for path in paths]
    plans = [terms.plan(file.columns, str(file.path)) for file in files]

    def take(rows: ForeignRows) -> None:
        for file, one in zip(files, plans, strict=True):
            rows.take_file(file, one)

    unused = {str(file.path): one.unused for file, one in zip(files, plans, strict=True) if one.unused}
    return _import(journal, take, terms, now, unused)


def import_query(journal: Path, dsn: str, query: str, terms: Terms, now: datetime.datetime | None = None) -> Imported:
    """Import what *query* finds in the database that *dsn* names, likewise; see `databases.asked`.

    Raises:
        DatabaseError: the database cannot be asked, or refuses the query.
        ForeignTableError, ConfigurationError, ImportBusyError, ImportFailedError: as for files.
    """
    with asked(dsn, query) as found:
        one = terms.plan(found.columns, "the query")
        schema = Schema([Column(name, DataType.string(), nullable=True) for name in found.columns])

        def take(rows: ForeignRows) -> None:
            count = 0
            for columns in found.pieces():
                arrays = [Array(cells, DataType.string()) for cells in columns]
                batch = Table.from_batches([RecordBatch.from_arrays(arrays, schema=schema)])
                rows.take_batch(batch, one, count + 1, "the query")
                count += batch.num_rows

        return _import(journal, take, terms, now, {"the query": one.unused} if one.unused else {})


def _import(
    journal: Path,
    take: Callable[[ForeignRows], None],
    terms: Terms,
    now: datetime.datetime | None,
    unused: Mapping[str, tuple[str, ...]],
) -> Imported:
    now = now or datetime.datetime.now(datetime.UTC)
    with receiving(journal, now) as rows:
        key, is_new_key = key_for(journal, terms.key_file)
        rows.begin(FIELDS, key)
        take(rows)
        rows.connection.execute(
            "UPDATE taken SET problem = 'unit: nothing, and no request_id; expected one of them'"
            " WHERE problem IS NULL AND unit IS NULL AND request_id IS NULL"
        )
        refused = rows.refusals()
        if refused.count and not terms.skip_bad:
            return Imported(refused=refused, is_new_key=is_new_key, unused=unused)
        rows.put_aside()
        duplicates = _new_ones(rows, journal, key_id(key), now)
        conflicts = _counted(
            rows,
            "SELECT count(DISTINCT outcome_id) FROM fresh WHERE outcome_id IN (FROM earlier SELECT outcome_id)"
            " OR outcome_id IN (SELECT outcome_id FROM fresh GROUP BY outcome_id HAVING count(*) > 1)",
        )
        count = _counted(rows, "SELECT count(*) FROM fresh")
        files = _publish(rows, journal, key_id(key)) if count else 0
    return Imported(count, files, duplicates, conflicts, refused, is_new_key, unused)


def _counted(rows: ForeignRows, query: str) -> int:
    (count,) = rows.connection.execute(query).fetchone() or (0,)
    return int(count)


def _new_ones(rows: ForeignRows, journal: Path, unit_key: str, now: datetime.datetime) -> int:
    """Make the tables `earlier`, what files have of the ids, and `fresh`, what they lack; return how many they had."""
    content = ", ".join(_CONTENT)
    files = [pattern(file) for file in sorted(journal.glob(FILES))]
    found = f"read_parquet([{', '.join(map(literal, files))}], hive_partitioning = false, union_by_name = true)"
    nothing = ", ".join(f'NULL::{COLUMNS[name]} AS "{name}"' for name in ("outcome_id", *_CONTENT, "unit_key_id"))
    source = found if files else f"(SELECT {nothing} WHERE false)"
    rows.connection.execute(
        f"CREATE TABLE earlier AS SELECT outcome_id, {content}, unit_key_id FROM {source}"
        " WHERE outcome_id IN (SELECT outcome_id FROM taken WHERE problem IS NULL)"
    )
    # A unit under another key cannot be compared; that one is the same then where all else is.
    rows.connection.execute(
        f"CREATE TABLE fresh AS SELECT outcome_id, {content}, min(ingested) AS ingested FROM"
        f" (SELECT * REPLACE (coalesce(ingested, TIMESTAMPTZ {literal(now.isoformat())}) AS ingested)"
        "  FROM taken WHERE problem IS NULL) AS one"
        " WHERE NOT EXISTS (FROM earlier WHERE earlier.outcome_id = one.outcome_id AND earlier.ts = one.ts"
        "  AND earlier.name = one.name AND earlier.value = one.value"
        "  AND earlier.request_id IS NOT DISTINCT FROM one.request_id"
        "  AND (earlier.unit IS NOT DISTINCT FROM one.unit"
        f"   OR (one.unit IS NOT NULL AND earlier.unit_key_id <> {literal(unit_key)})))"
        " GROUP BY ALL ORDER BY ingested, ts, outcome_id, name, value"
    )
    good = "SELECT count(*) FROM taken WHERE problem IS NULL"
    return _counted(rows, f"SELECT ({good}) - (SELECT count(*) FROM fresh)")


def _publish(rows: ForeignRows, journal: Path, unit_key: str) -> int:
    """Write all files aside, then show them; return how many. Where one cannot be shown, none is."""
    boot = Boot(INSTANCE, f"{_counted(rows, _DIGEST):032x}"[-16:])
    divided = list(hourly.parts(rows.connection, "fresh", "ingested"))
    staged: list[Path] = []
    for n, part in enumerate(divided):
        staged.append(rows.folder / f"{boot.name}-{n}.parquet")
        said = {"schema": VERSION, "instance": boot.instance, "boot": boot.boot, "written": part.last - part.first + 1}
        footer = {f"turnout.{name}": str(value) for name, value in said.items()}
        hourly.write(rows.connection, _columns(boot, unit_key, part), staged[-1], footer)
    files = SegmentFiles(journal / FOLDER, boot)
    try:
        for file, part in zip(staged, divided, strict=True):
            files.finish(file, int(part.hour.timestamp()) * 1_000_000)
    except OSError:
        for file in staged:
            for shown in journal.glob(f"{FILES.rpartition('/')[0]}/{file.name}"):
                shown.unlink()
        raise
    return len(divided)


_DIGEST = (
    "SELECT bit_xor(md5_number(to_json([outcome_id, hex(unit), request_id, ts::VARCHAR, name, value::VARCHAR])"
    "::VARCHAR)) & 18446744073709551615 FROM fresh"
)
"""The same whatever the order of the rows."""


def _columns(boot: Boot, unit_key: str, part: hourly.Part) -> str:
    """Return the SELECT of the rows of one file, in the columns that outcomes have."""
    own = {
        "schema": str(VERSION),
        "unit_key_id": f"CASE WHEN unit IS NOT NULL THEN {literal(unit_key)} END",
        "source": literal(SOURCE),
        "instance": literal(boot.instance),
        "boot": literal(boot.boot),
        "seq": "rowid",
    }
    columns = ", ".join(f'({own.get(name, name)})::{kind} AS "{name}"' for name, kind in COLUMNS.items())
    return f"SELECT {columns} FROM fresh WHERE rowid BETWEEN {part.first} AND {part.last}"
