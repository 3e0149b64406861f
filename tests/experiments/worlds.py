"""Journals and outcomes of experiments whose truth is known, as files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.text import convert
from turnout_server.journal.schema import COLUMNS
from turnout_server.outcomes.schema import COLUMNS as OUTCOME_COLUMNS

START = datetime(2026, 10, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LATER = START + 60 * DAY


def experiment(**fields: Any) -> Experiment:
    """Return an experiment on route `ranking`, `old` against `new`, with *fields* in place of the usual ones."""
    usual: dict[str, Any] = {
        "name": "ranker",
        "route": "ranking",
        "control": "old",
        "treatments": ["new"],
        "window": "7d",
        "units": 1000,
        "start": START,
        "primary": "conversion",
        "metrics": {"conversion": {"kind": "proportion", "outcome": "purchase"}},
    }
    return convert(usual | fields)


def hashed(unit: str) -> bytes:
    """Return a unit as a journal has it."""
    return hashlib.blake2b(unit.encode(), digest_size=16).digest()


@dataclass
class World:
    """A journal in the making. Times count from `START`."""

    root: Path
    records: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)

    def exposed(self, unit: str, arm: str, at: timedelta = timedelta(), **others: Any) -> None:
        """Add a record of *unit* that was assigned to *arm*."""
        number = len(self.records)
        usual = {
            "schema": 1,
            "ts": START + at,
            "instance": "a",
            "boot": "0000000000000001",
            "seq": number,
            "request_id": f"r{number}",
            "route": "ranking",
            "epoch": "e1",
            "unit": hashed(unit),
            "unit_key_id": "k",
            "assigned": arm,
            "served": arm,
            "version": 2 if arm == "new" else 1,
            "reason": "SPLIT",
            "propensity": 0.5,
            "code": "OK",
        }
        self.records.append(usual | others)

    def did(self, unit: str | None, at: timedelta, value: float = 1.0, **others: Any) -> None:
        """Add an outcome of *unit*, which was known an hour later."""
        number = len(self.outcomes)
        usual = {
            "schema": 1,
            "outcome_id": f"o{number}",
            "unit": None if unit is None else hashed(unit),
            "unit_key_id": None if unit is None else "k",
            "ts": START + at,
            "name": "purchase",
            "value": value,
            "ingested": START + at + HOUR,
            "source": "import",
            "instance": "a",
            "boot": "0000000000000001",
            "seq": number,
        }
        self.outcomes.append(usual | others)

    def write(self, *, files: int = 1) -> Path:
        """Write everything, into so many files of each kind, and return the journal."""
        for index in range(files):
            name = f"a-0000000000000001-{index}.parquet"
            _write(self.root / "date=2026-10-01" / "hour=0" / name, COLUMNS, self.records[index::files])
            _write(self.root / "outcomes/date=2026-10-01/hour=0" / name, OUTCOME_COLUMNS, self.outcomes[index::files])
        return self.root


def _write(file: Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        table = pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=list(columns), dtype=object)
        connection.register("rows_", table)
        typed = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in columns.items())
        connection.execute(f"COPY (SELECT {typed} FROM rows_) TO '{file}' (FORMAT parquet)")


def halves(world: World, units: Iterable[str], at: timedelta = timedelta()) -> None:
    """Expose every other unit to either arm."""
    for index, unit in enumerate(units):
        world.exposed(unit, "new" if index % 2 else "old", at)
