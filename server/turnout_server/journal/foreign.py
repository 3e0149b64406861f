"""Exposures that somebody else logged, as segments of the journal: assigned elsewhere, at times that have passed.

One import is one boot of the instance `import`, whose name is a digest of the files and of how they were read. So the
same one twice changes nothing, and `verify` knows whether all of it is there.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from turnout_server.journal import hourly
from turnout_server.journal.boot import BOOTS, Boot
from turnout_server.journal.counters import CLOSED, DROPPED, OFFERED, SEGMENTS, WRITTEN, Cells, CounterFile, counters_of
from turnout_server.journal.foreign_rows import ForeignRows, Refusals, digest_of, foreign_file, key_for, receiving
from turnout_server.journal.keys import key_id
from turnout_server.journal.mapping import UNIT, Field, Plan, count, moment, plan, text
from turnout_server.journal.reading import literal
from turnout_server.journal.schema import CAUSES, COLUMNS, VERSION
from turnout_server.journal.segments import Footer, SegmentFiles
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.units import UNIT_LIMIT

INSTANCE = "import"
_REASONS = [reason.value for reason in Reason]
_IS_REASON = f"value IN ({', '.join(map(literal, _REASONS))})"
FIELDS = (
    moment("ts", is_required=True),
    text("route", is_required=True),
    text("assigned", is_required=True),
    Field("served", "VARCHAR", "at most 256 characters", "length(value) <= 256", without='"value_assigned"'),
    UNIT,
    text("request_id", UNIT_LIMIT),
    text("experiment"),
    text("layer"),
    Field("enrolled", "BOOLEAN", "true or false", default="true"),
    text("epoch", default="''"),
    text("table_digest"),
    text("model"),
    count("version", default="0"),
    Field("reason", "VARCHAR", f"one of {', '.join(_REASONS)}", _IS_REASON, default="'SPLIT'"),
    count("override", "INTEGER"),
    Field("propensity", "DOUBLE", "a probability: above 0, at most 1", "value > 0 AND value <= 1"),
    text("code", default="'OK'"),
    count("took_us"),
    count("queue_us"),
    count("rows", "INTEGER"),
    text("principal"),
    text("trace_id"),
    Field("copy_of", "BIGINT", "the row of another one of this file, from 1", "value >= 1"),
)
"""What a log of exposures may say; the journal's own columns, and what they are where the log says nothing."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import of exposures did."""

    boot: str
    """What its segments are called: `import-`, and 16 hexadecimal digits."""
    rows: int = 0
    """In its segments."""
    segments: int = 0
    was_there: bool = False
    """Whether it had been imported before, so that nothing was done."""
    first: datetime.datetime | None = None
    last: datetime.datetime | None = None
    """The times of the first row and the last."""
    refused: Refusals = field(default_factory=Refusals)
    is_new_key: bool = False
    """Whether the journal had no key, and got one."""
    unused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By file, columns that were not imported."""


def import_exposures(
    journal: Path,
    paths: Sequence[Path],
    *,
    pairs: Sequence[str] = (),
    route: str | None = None,
    key_file: Path | None = None,
    skip_bad: bool = False,
    now: datetime.datetime | None = None,
) -> Imported:
    """Import logs of exposures: all of their rows, or none where one is refused.

    A journal that is not there is made. Where the process dies, nothing counts until it is done again.

    Args:
        journal: its directory.
        paths: CSV or Parquet files.
        pairs: `column=field`, each; a column that is called as a field is that field's.
        route: the route of all rows; None where a column says it.
        key_file: what units are hashed with; None for the journal's own key.
        skip_bad: import the other rows where some are refused, and count those as dropped.
        now: what times must not be ahead of; None for the present.

    Raises:
        ForeignTableError: a file cannot be read, or a field has no column.
        ConfigurationError: the key cannot be used.
        ImportBusyError: somebody else imports, or forgets.
        ImportFailedError: the journal cannot be written.
    """
    constants = {"route": route} if route is not None else {}
    # Sorted, so that the same files are the same import in whatever order they are named.
    sources = sorted({digest_of(path): foreign_file(path) for path in paths}.items())
    plans = [plan(FIELDS, file.columns, pairs, constants, place=str(file.path)) for _, file in sources]
    boot = _boot([digest for digest, _ in sources], plans)
    unused = {str(file.path): one.unused for (_, file), one in zip(sources, plans, strict=True) if one.unused}
    with receiving(journal, now or datetime.datetime.now(datetime.UTC)) as rows:
        if (written := _written(journal, boot)) is not None:
            return Imported(boot.name, written, was_there=True)
        key, is_new_key = key_for(journal, key_file)
        rows.begin(FIELDS, key)
        for (_, file), one in zip(sources, plans, strict=True):
            rows.take_file(file, one)
        has_copies = any("copy_of" in one.columns for one in plans)
        if has_copies:
            _refuse_lost_copies(rows)
        refused = rows.refusals()
        if refused.count and not skip_bad:
            return Imported(boot.name, refused=refused, is_new_key=is_new_key, unused=unused)
        kept = _in_order(rows, has_copies=has_copies)
        if not kept:
            return Imported(boot.name, refused=refused, is_new_key=is_new_key, unused=unused)
        segments = _publish(rows, journal, boot, key_id(key), kept, refused.count)
        first, last = rows.connection.execute("SELECT min(ts), max(ts) FROM ordered").fetchone() or (None, None)
    return Imported(boot.name, kept, segments, False, first, last, refused, is_new_key, unused)


def _boot(digests: Sequence[str], plans: Sequence[Plan]) -> Boot:
    said = [VERSION, *digests, *([sorted(one.columns.items()), sorted(one.constants.items())] for one in plans)]
    return Boot(INSTANCE, hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:16])


def _written(journal: Path, boot: Boot) -> int | None:
    """Return how many rows the import has that *boot* stands for; None where it was not done, or not to its end."""
    try:
        found = counters_of(journal / BOOTS / boot.name)
    except (OSError, ValueError):
        return None
    return found.written if found.is_closed else None


def _refuse_lost_copies(rows: ForeignRows) -> None:
    """Refuse copies of what is not taken, or is a copy itself."""
    rows.connection.execute(
        "UPDATE taken SET problem = 'copy_of: row ' || copy_of || '; expected the row of another one, that is taken'"
        " WHERE problem IS NULL AND copy_of IS NOT NULL AND (place, copy_of) NOT IN"
        " (SELECT (place, row) FROM taken WHERE problem IS NULL AND copy_of IS NULL)"
    )


def _in_order(rows: ForeignRows, *, has_copies: bool) -> int:
    """Make the table `ordered`, whose row ids are the numbers of its records; return how many there are."""
    connection = rows.connection
    rows.put_aside()
    connection.execute("CREATE TABLE ordered AS FROM taken WHERE problem IS NULL ORDER BY ts, place, row")
    if has_copies:
        connection.execute(
            "UPDATE ordered SET copy_of = original.seq FROM"
            " (SELECT place, row, rowid AS seq FROM ordered WHERE copy_of IS NULL) AS original"
            " WHERE ordered.copy_of IS NOT NULL AND original.place = ordered.place AND original.row = ordered.copy_of"
        )
    (kept,) = connection.execute("SELECT count(*) FROM ordered").fetchone() or (0,)
    return int(kept)


def _publish(rows: ForeignRows, journal: Path, boot: Boot, unit_key: str, kept: int, refused: int) -> int:
    """Write all segments aside, then show them; return how many. Until the last step the boot counts as unclean."""
    divided = list(hourly.parts(rows.connection, "ordered", "ts"))
    dropped = dict.fromkeys(CAUSES, 0) | {"unwritable": refused}
    staged: list[Path] = []
    for n, part in enumerate(divided):
        size = part.last - part.first + 1
        is_last = n == len(divided) - 1
        footer = Footer(boot, n, part.first, part.last, size, kept + refused, dropped, is_last)
        staged.append(rows.folder / f"{boot.name}-{n}.parquet")
        hourly.write(rows.connection, _columns(boot, unit_key, part), staged[-1], footer.pairs())
    (journal / BOOTS / f".{boot.name}").unlink(missing_ok=True)  # of one that was killed
    counters = CounterFile(journal, boot.name)
    try:
        files = SegmentFiles(journal, boot)
        # Those that are there are of an import that was killed, and `forget` may have been at them since.
        there = {file.name for file in journal.glob(f"date=*/hour=*/{boot.name}-*.parquet")}
        for file, part in zip(staged, divided, strict=True):
            if file.name not in there:
                files.finish(file, int(part.hour.timestamp()) * 1_000_000)
        cells = Cells().view
        cells[OFFERED], cells[WRITTEN], cells[SEGMENTS], cells[CLOSED] = kept + refused, kept, len(divided), 1
        cells[DROPPED + CAUSES.index("unwritable")] = refused
        counters.store(cells)
        try:
            counters.flush()
        except OSError:
            cells[CLOSED] = 0  # who is told that it failed is to find that it can be done again
            counters.store(cells)
            raise
    finally:
        counters.close()
    return len(divided)


def _columns(boot: Boot, unit_key: str, part: hourly.Part) -> str:
    """Return the SELECT of the rows of one segment, in the journal's columns."""
    own = {
        "schema": str(VERSION),
        "instance": literal(boot.instance),
        "boot": literal(boot.boot),
        "seq": "rowid",
        "unit_key_id": f"CASE WHEN unit IS NOT NULL THEN {literal(unit_key)} END",
    }
    taken = {one.name: f'"{one.name}"' for one in FIELDS}
    columns = ", ".join(
        f'({({**taken, **own}).get(name, "NULL")})::{kind} AS "{name}"' for name, kind in COLUMNS.items()
    )
    return f"SELECT {columns} FROM ordered WHERE rowid BETWEEN {part.first} AND {part.last}"
