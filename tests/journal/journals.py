"""Writes small journals as a gateway would leave them, by way of DuckDB."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from turnout_server.journal.schema import COLUMNS

BOOT = "692937a000c0ffee"
OTHER_BOOT = "692937b000c0ffee"
INSTANCE = "gw-1"
CAUSES = ("ring_full", "no_space", "no_permission", "io_error", "unwritable", "closing")

DEFAULTS: Mapping[str, Any] = {
    "schema": 1,
    "ts": "2026-11-28 06:00:00+00",
    "request_id": "r",
    "route": "price",
    "assigned": "control",
    "served": "control",
    "model": "price",
    "version": 1,
    "reason": "SPLIT",
    "code": "OK",
    "took_us": 1000,
    "rows": 1,
}


def row(seq: int, **values: Any) -> dict[str, Any]:
    return {**DEFAULTS, "seq": seq, "request_id": f"r-{seq}", **values}


def write_segment(
    journal: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    n: int = 0,
    boot: str = BOOT,
    instance: str = INSTANCE,
    columns: Mapping[str, str] = COLUMNS,
    folder: str = "date=2026-11-28/hour=06",
    **footer: Any,
) -> Path:
    """Write one segment; *footer* replaces what its footer would say: `dropped={"ring_full": 1}`."""
    file = journal / folder / f"{instance}-{boot}-{n}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    said = {
        "schema": 1,
        "instance": instance,
        "boot": boot,
        "segment": n,
        "first_seq": rows[0]["seq"] if rows else 0,
        "last_seq": rows[-1]["seq"] if rows else -1,
        "written": len(rows),
        "dropped": json.dumps(footer.pop("dropped", {})),
        "offered": rows[-1]["seq"] + 1 if rows else 0,
        "forgotten": 0,
        "closed": "false",
        **footer,
    }
    metadata = ", ".join(f"'turnout.{name}': '{value}'" for name, value in said.items())
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (" + ", ".join(f'"{name}" {kind}' for name, kind in columns.items()) + ")")
        for one in rows:
            values = {"instance": instance, "boot": boot, **one}
            connection.execute(
                f"INSERT INTO t VALUES ({', '.join('?' for _ in columns)})", [values.get(name) for name in columns]
            )
        connection.execute(f"COPY t TO '{file}' (FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{metadata}}})")
    return file


def write_counters(
    journal: Path,
    *,
    offered: int,
    written: int,
    segments: int,
    closed: bool = False,
    boot: str = BOOT,
    instance: str = INSTANCE,
    **dropped: int,
) -> Path:
    file = journal / ".boots" / f"{instance}-{boot}"
    file.parent.mkdir(parents=True, exist_ok=True)
    numbers = (offered, written, segments, int(closed), *(dropped.get(cause, 0) for cause in CAUSES))
    file.write_bytes(struct.pack(f"<8s{len(numbers)}Q", b"TURNOUT1", *numbers).ljust(4096, b"\0"))
    return file
