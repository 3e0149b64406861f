"""Targets in Python: what experiments are asked by, and what is imported for them.

`experiment` is a definition, as people write it. `exposures` and `outcome-table` are somebody else's tables of
exposures and of outcomes, as CSV: all of a table's rows are taken, or none, and none of them twice.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import yaml

from fuzz.documents import damaged
from fuzz.source import Source, Target, edited
from turnout_server.experiments import planning, query
from turnout_server.experiments.definition import Experiment, InvalidExperimentError, digest_of
from turnout_server.experiments.query import Period
from turnout_server.experiments.text import parse
from turnout_server.journal.accounts import accounts
from turnout_server.journal.foreign import import_exposures
from turnout_server.journal.mapping import ForeignTableError
from turnout_server.outcomes.foreign import Terms, import_files

NOW = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)
_KEY = "ab" * 16
_PERIOD = Period(NOW - datetime.timedelta(days=9), NOW - datetime.timedelta(days=2), NOW)
_CELLS = (
    "ann", "a", "b", "1", "0", "-1", "1.5", "1e308", "nan", "inf", "true", "2026-11-28", "2026-11-28T10:00:00Z",
    "1764000000", "1764000000000000000", "0001-01-01T00:00:00+14:00", "9999-12-31", "", "order", "o-1", "é", "'", '"',
    '""', "\ud83d\ude00", "x" * 300, "SPLIT", "NULL", "0x10", "\0", "r-1", " ", "infinity", "epoch", "294247-01-10",
)  # fmt: skip


def experiment(data: bytes) -> None:
    """Read a definition, fix it, plan it, and write its SQL."""
    try:
        read = parse(data.decode())
    except (UnicodeDecodeError, InvalidExperimentError):
        return
    again = msgspec.json.decode(msgspec.json.encode(read), type=Experiment)
    assert digest_of(again) == digest_of(read), "it came back as another"
    with contextlib.suppress(InvalidExperimentError):
        power = planning.planned(read)
        detectable = None if power is None else power.detectable  # None where no change would be found
        assert detectable is None or (detectable > 0 and math.isfinite(detectable)), "it finds nothing, or all"
        assert power is None or power.needed is None or power.needed > 0
    statements = duckdb.extract_statements(query.script(read, _PERIOD))
    assert len(statements) == 1 + len(query.STEPS) + len(query.QUESTIONS), "a name has become a statement"


def experiment_made(data: bytes) -> None:
    """Make a definition, most of it right; then damage it."""
    source = Source(data)
    names = ("conversion", "revenue", "wait")
    kinds = ("proportion", "mean", "ratio", "quantile", "rare")
    metrics: dict[str, Any] = {}
    for name in names[: 1 + source.number(3)]:
        metric: dict[str, Any] = {"kind": source.choose(kinds), "outcome": source.choose(("order", "'", "a{b}", "é"))}
        match metric["kind"]:
            case "ratio":
                metric["denominator"] = {"outcome": "session"}
            case "quantile":
                metric["quantile"] = source.choose((0.5, 0.99, 5e-324))
            case "rare":
                metric["better"] = "down"
            case "mean":
                metric["covariate"] = {"lookback": "2w"}
        if source.one_in(2):
            mean = source.choose((0.1, 1e-300, 5e-324, 1 - 2**-53, 1e308, -4.0))
            metric["baseline"] = {"mean": mean, "variance": source.choose((1.0, 5e-324, 1e308))}
        metrics[name] = metric
    document: dict[str, Any] = {
        "name": "ranker-v2",
        "route": "ranking",
        "control": "champion",
        "treatments": ["challenger", "third"][: 1 + source.number(2)],
        "window": source.choose(("7d", "999999w", "1s")),
        "units": source.choose((20_000, 20, (1 << 63) - 1)),
        "primary": "conversion",
        "secondary": [name for name in metrics if name != "conversion"],
        "metrics": metrics,
    }
    for key, value in (
        ("alpha", source.choose((0.05, 5e-324, 0.2))),
        ("power", source.choose((0.8, 5e-324, 1 - 2**-53))),
        ("minimal_effect", source.choose((0.01, 5e-324, 1e308))),
        ("method", "fixed"),
        ("days", 14),
        ("start", source.choose(("2026-10-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"))),
        ("stop", datetime.date(2026, 10, 15)),
        ("exclude", {"exposures_over": source.choose((1, 1 << 62, (1 << 63) - 1))}),
    ):
        if source.one_in(3):
            document[key] = value
    dumped = source.choose((yaml.safe_dump, lambda one: json.dumps(one, default=str)))
    damaged(source, document, dumped, experiment)


def exposures(data: bytes) -> None:
    """Import bytes as a table of exposures, twice; the journal is in order afterwards."""
    skip_bad, is_bare = _flags(data)
    route = "price" if is_bare else None

    def take(journal: Path, table: Path, key_file: Path) -> tuple[int, int]:
        done = import_exposures(journal, [table], pairs=[], route=route, key_file=key_file, skip_bad=skip_bad, now=NOW)
        assert not done.refused.count or skip_bad or not done.rows, "some rows of a table that was refused"
        return 0 if done.was_there else done.rows, done.refused.count

    _imported(data[2:], take)


def outcome_table(data: bytes) -> None:
    """Import bytes as a table of outcomes likewise."""
    skip_bad, is_bare = _flags(data)
    name = "order" if is_bare else None

    def take(journal: Path, table: Path, key_file: Path) -> tuple[int, int]:
        done = import_files(journal, [table], Terms(name=name, key_file=key_file, skip_bad=skip_bad), NOW)
        assert not done.refused.count or skip_bad or not done.rows, "some rows of a table that was refused"
        return done.rows, done.refused.count

    _imported(data[2:], take)


def _flags(data: bytes) -> tuple[bool, bool]:
    """Return what the first two bytes say: whether bad rows are left out, and whether a column is said beside."""
    first, second = data[:2].ljust(2, b"0")
    return bool(first & 1), bool(second & 1)


def exposures_made(data: bytes) -> None:
    """Make a table of exposures, most of it right; then damage it."""
    columns = ("ts", "assigned", "unit", "route", "propensity", "copy_of", "reason", "version", "enrolled", "odd")
    _table(data, columns, exposures)


def outcome_table_made(data: bytes) -> None:
    """Make a table of outcomes likewise."""
    _table(data, ("ts", "outcome_id", "unit", "request_id", "name", "value", "ingested", "odd"), outcome_table)


def _imported(text: bytes, take: Callable[[Path, Path, Path], tuple[int, int]]) -> None:
    """Import a table into a new journal, twice."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        place = Path(folder)
        table, key_file, journal = place / "table.csv", place / "key", place / "journal"
        table.write_bytes(text)
        key_file.write_text(_KEY)
        try:
            rows, refused = take(journal, table, key_file)
        except ForeignTableError:
            return
        assert rows + refused <= text.count(b"\n") + text.count(b"\r") + 1, "more rows than lines"
        assert accounts(journal, is_thorough=True).is_accounted, "the journal is not in order"
        again, _ = take(journal, table, key_file)
        assert not again, "it was taken twice"


_RIGHT: Mapping[str, str] = {
    "ts": "2026-11-28T10:00:00Z",
    "ingested": "2026-11-28T10:00:01Z",
    "assigned": "a",
    "unit": "ann",
    "route": "price",
    "propensity": "0.5",
    "copy_of": "",
    "reason": "SPLIT",
    "version": "1",
    "enrolled": "true",
    "request_id": "r-1",
    "name": "order",
    "value": "1",
}


def _table(data: bytes, columns: Sequence[str], target: Target) -> None:
    source = Source(data)
    head = source.raw(2).ljust(2, b"0")
    kept = [column for column in columns if not source.one_in(6)]
    lines = [",".join(kept)]
    for number in range(source.number(6)):
        right = _RIGHT | {"outcome_id": f"o-{number}"}
        lines.append(",".join(source.choose(_CELLS) if source.one_in(8) else right.get(one, "") for one in kept))
    written = "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"
    target(head + written)
    target(head + edited(source, written))


TARGETS: Mapping[str, Target] = {
    "experiment": experiment,
    "experiment-made": experiment_made,
    "exposures": exposures,
    "exposures-made": exposures_made,
    "outcome-table": outcome_table,
    "outcome-table-made": outcome_table_made,
}
"""Each by its name."""
