"""What lasts of a journal, whoever writes it: columns, folders, causes of loss."""

from __future__ import annotations

from collections.abc import Mapping

VERSION = 1
"""Of the schema; each row says which one it was written with."""
COLUMNS: Mapping[str, str] = {
    "schema": "INTEGER",
    "ts": "TIMESTAMPTZ",
    "instance": "VARCHAR",
    "boot": "VARCHAR",
    "seq": "BIGINT",
    "request_id": "VARCHAR",
    "route": "VARCHAR",
    "experiment": "VARCHAR",
    "layer": "VARCHAR",
    "epoch": "VARCHAR",
    "table_digest": "VARCHAR",
    "enrolled": "BOOLEAN",
    "unit": "BLOB",
    "unit_key_id": "VARCHAR",
    "assigned": "VARCHAR",
    "served": "VARCHAR",
    "model": "VARCHAR",
    "version": "BIGINT",
    "reason": "VARCHAR",
    "override": "INTEGER",
    "propensity": "DOUBLE",
    "code": "VARCHAR",
    "took_us": "BIGINT",
    "queue_us": "BIGINT",
    "rows": "INTEGER",
    "principal": "VARCHAR",
    "trace_id": "VARCHAR",
    "copy_of": "BIGINT",
    "shadow_overlap": "DOUBLE",
    "shadow_tau": "DOUBLE",
    "shadow_top1": "BOOLEAN",
    "shadow_delta": "DOUBLE",
    "shadow_delta_most": "DOUBLE",
    "shadow_absolute": "DOUBLE",
    "shadow_relative": "DOUBLE",
    "shadow_nans": "BIGINT",
    "shadow_note": "VARCHAR",
}
"""The columns of a segment, with DuckDB's names for their types."""
FOLDERS: Mapping[str, str] = {"date": "DATE", "hour": "INTEGER"}
"""What the folders' names say, as columns."""

PARQUET = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, DICTIONARY_SIZE_LIMIT 1000"
"""How segments are written, in the words of DuckDB's COPY.

Level 3 takes half as long again and saves nothing: what is long is hashes and ids. Columns that repeat have few
distinct values, and one that does not repeat is found out sooner by a small limit.
"""
SEGMENTS = "date=*/hour=*/[!.]*.parquet"
"""Where finished segments are, below the journal."""
STAGING = ".staging"
"""Where segments grow until they are finished."""
CAUSES = ("ring_full", "no_space", "no_permission", "io_error", "unwritable", "closing")
"""Why records are dropped, in the counter file's order: too many waited; the disk was full, forbidden or broken; a
record could not be encoded; the process had no time left to write it."""
