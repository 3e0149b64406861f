"""What lasts of outcomes, whoever writes them: columns, folders."""

from __future__ import annotations

from collections.abc import Mapping

VERSION = 1
"""Of the schema; each row says which one it was written with."""
COLUMNS: Mapping[str, str] = {
    "schema": "INTEGER",
    "outcome_id": "VARCHAR",
    "unit": "BLOB",
    "unit_key_id": "VARCHAR",
    "request_id": "VARCHAR",
    "ts": "TIMESTAMPTZ",
    "name": "VARCHAR",
    "value": "DOUBLE",
    "ingested": "TIMESTAMPTZ",
    "source": "VARCHAR",
    "instance": "VARCHAR",
    "boot": "VARCHAR",
    "seq": "BIGINT",
}
"""The columns of a file, with DuckDB's names for their types.

`unit` is hashed as the journal's is; either it or `request_id` is there. `ts` is when the unit did it, `ingested` when
it was acknowledged, which is what an analysis `as_of` goes by. `source` is `service` or `import`.
"""
FOLDER = "outcomes"
"""Where outcomes are, below a journal."""
FILES = "outcomes/date=*/hour=*/[!.]*.parquet"
"""Finished files, below a journal. The folders are UTC, of the first row's `ingested`."""
