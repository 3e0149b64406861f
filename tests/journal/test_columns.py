"""What becomes of a record, column by column."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import Any

import duckdb
import pytest
from arro3.core import Table

from tests.journal.records import ARRIVED_NS, DECISION, KEY, record
from turnout_server.config import JournalConfig
from turnout_server.journal.boot import Boot
from turnout_server.journal.columns import SCHEMA, Encoder, trace_id
from turnout_server.journal.keys import key_id
from turnout_server.journal.reading import query
from turnout_server.journal.ring import Ring
from turnout_server.journal.schema import COLUMNS, FOLDERS
from turnout_server.journal.writer import Writer
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.record import Comparison, Record, Timing


def encoded(*records: Record) -> list[dict[str, Any]]:
    batch = Encoder(KEY).encode(records)
    with duckdb.connect() as database:
        database.register("batches", Table.from_batches([batch], schema=SCHEMA))
        found = database.execute("SELECT * REPLACE (epoch_us(ts) AS ts) FROM batches")
        names = [column[0] for column in found.description]
        rows = found.fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def read_back(journal: Path, *records: Record) -> list[dict[str, Any]]:
    """Return *records* as SQL finds them after they were written."""
    boot = Boot("gw-1", "692937a000c0ffee")
    ring = Ring(100)
    writer = Writer(JournalConfig(path=str(journal)), boot, ring, [KEY])
    for one in records:
        ring.append(one)
    writer.turn(0.0, closing=True)
    writer.release()
    answer = query(journal, "SELECT * REPLACE (epoch_us(ts) AS ts), typeof(ts) FROM records ORDER BY seq")
    assert answer.unreadable == {}
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


PLAIN = {
    "schema": 1,
    "ts": ARRIVED_NS // 1000,
    "instance": "gw-1",
    "boot": "692937a000c0ffee",
    "seq": 0,
    "request_id": "r-0",
    "route": "price",
    "experiment": None,
    "layer": None,
    "epoch": "e" * 16,
    "table_digest": "d" * 64,
    "enrolled": None,
    "unit": hashlib.blake2b(b"unit-0", key=KEY, digest_size=16).digest(),
    "unit_key_id": key_id(KEY),
    "assigned": "control",
    "served": "control",
    "model": "price",
    "version": 1,
    "reason": "SPLIT",
    "override": None,
    "propensity": 0.5,
    "code": "OK",
    "took_us": 1000,
    "queue_us": None,
    "rows": 1,
    "principal": None,
    "trace_id": None,
    "copy_of": None,
    "shadow_overlap": None,
    "shadow_tau": None,
    "shadow_top1": None,
    "shadow_delta": None,
    "shadow_delta_most": None,
    "shadow_absolute": None,
    "shadow_relative": None,
    "shadow_nans": None,
    "shadow_note": None,
    "date": datetime.date(2025, 11, 28),
    "hour": 6,
}
"""What is read back of `record(0)`."""
NAMED = dict.fromkeys(["route", "assigned", "served", "epoch", "table_digest", "propensity"])
MEASURES = Comparison(0.5, -0.25, False, -0.1, 0.2, 3.0, 4.0, 5, '{"original": 1}')


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        (
            {"decision": DECISION._replace(target="other", model="spare", version=7, reason=Reason.FALLBACK)},
            {"served": "other", "model": "spare", "version": 7, "reason": "FALLBACK"},
        ),
        (
            {"decision": DECISION._replace(target="canary", assigned="canary", reason=Reason.OVERRIDE, override=0)},
            {"served": "canary", "assigned": "canary", "reason": "OVERRIDE", "override": 0},
        ),
        (
            {"decision": DECISION._replace(reason=Reason.UNSTICKY), "unit": ""},
            {"reason": "UNSTICKY", "unit": None, "unit_key_id": None},
        ),
        (
            {"decision": DECISION._replace(experiment="x", layer="checkout", enrolled=True)},
            {"experiment": "x", "layer": "checkout", "enrolled": True},
        ),
        (
            {"decision": DECISION._replace(reason=Reason.HOLDOUT, propensity=None, experiment="x", enrolled=False)},
            {"reason": "HOLDOUT", "propensity": None, "experiment": "x", "enrolled": False},
        ),
        (
            {"decision": DECISION._replace(reason=Reason.OVERRIDE, override=0, experiment="x", layer="checkout")},
            {"reason": "OVERRIDE", "override": 0, "experiment": "x", "layer": "checkout"},
        ),
        (
            {"decision": Decision("", "", "price", 2, Reason.PINNED), "route": ""},
            NAMED | {"version": 2, "reason": "PINNED"},
        ),
        (
            {"decision": Decision("", "", "price", 3, Reason.NAMED), "route": ""},
            NAMED | {"version": 3, "reason": "NAMED"},
        ),
        (
            {"decision": DECISION._replace(available=False, version=0), "code": "VERSION_UNAVAILABLE"},
            {"served": None, "version": 0, "code": "VERSION_UNAVAILABLE"},
        ),
        (
            {"timing": Timing(2_999, 0, 0, 0, 8, 1), "rows": 8, "took_ns": 1_999, "principal": "ann"},
            {"queue_us": 2, "took_us": 1, "rows": 8, "principal": "ann"},
        ),
        ({"traceparent": f"00-{'0a' * 16}-{'b' * 16}-01"}, {"trace_id": "0a" * 16}),
        ({"traceparent": "nonsense"}, {}),
        (
            {"unit": "\ud800"},
            {"unit": hashlib.blake2b(b"\xed\xa0\x80", key=KEY, digest_size=16).digest()},
        ),
        ({"copy_of": 0, "decision": DECISION._replace(target="")}, {"copy_of": 0, "served": None}),
        ({"copy_of": 5, "comparison": Comparison(note="unlike")}, {"copy_of": 5, "shadow_note": "unlike"}),
        (
            {"copy_of": 5, "comparison": MEASURES},
            {"copy_of": 5} | {f"shadow_{name}": value for name, value in MEASURES._asdict().items()},
        ),
    ],
)
def test_every_column_of_every_kind_of_record(fields: dict[str, Any], expected: dict[str, Any], tmp_path: Path) -> None:
    alone, *_ = read_back(tmp_path / "alone", record(0, **fields))
    assert alone.pop("typeof(ts)") == "TIMESTAMP WITH TIME ZONE"
    assert alone == PLAIN | expected
    assert list(alone) == [*COLUMNS, *FOLDERS]
    # Beside others of all kinds it is the same: columns are made for a batch at once.
    tried = DECISION._replace(experiment="y", layer="search", enrolled=False)
    others = [
        record(1),
        record(2, copy_of=1, comparison=MEASURES),
        record(3, unit="", principal="bob"),
        record(4, decision=tried),
    ]
    beside, *_ = read_back(tmp_path / "beside", record(0, **fields), *others)
    assert beside | {"typeof(ts)": None} == PLAIN | expected | {"typeof(ts)": None}


def test_a_plain_record() -> None:
    [row] = encoded(record(7, timing=Timing(5000, 0, 0, 0, 1, 1)))
    assert (row["seq"], row["ts"]) == (7, record(7).arrived_ns // 1000)
    assert (row["route"], row["assigned"], row["served"], row["reason"]) == ("price", "control", "control", "SPLIT")
    assert (row["took_us"], row["queue_us"], row["propensity"], row["override"]) == (1000, 5, 0.5, None)
    assert (row["principal"], row["copy_of"], row["shadow_tau"], row["trace_id"]) == (None, None, None, None)


def test_a_unit_is_there_as_its_keyed_hash_only() -> None:
    named, odd, none = encoded(record(0, unit="ann"), record(1, unit="\ud800"), record(2, unit=""))
    assert named["unit"] == hashlib.blake2b(b"ann", key=KEY, digest_size=16).digest()
    assert odd["unit"] == hashlib.blake2b(b"\xed\xa0\x80", key=KEY, digest_size=16).digest()
    assert named["unit_key_id"] == odd["unit_key_id"] == key_id(KEY)
    assert (none["unit"], none["unit_key_id"]) == (None, None)


def test_nobody_served_what_was_not_available() -> None:
    refused, served = encoded(record(0, decision=DECISION._replace(available=False)), record(1))
    assert (refused["assigned"], refused["served"], served["served"]) == ("control", None, "control")


def test_a_model_named_outright_has_no_route() -> None:
    [row] = encoded(record(0, decision=Decision("", "", "price", 3, Reason.NAMED), route=""))
    assert [row[name] for name in ("route", "assigned", "served", "epoch", "table_digest", "propensity")] == [None] * 6
    assert row["version"] == 3


def test_a_copy_has_its_comparison_beside_it() -> None:
    original, copy = encoded(record(0), record(1, copy_of=0, comparison=Comparison(overlap=0.5, top1=True, nans=2)))
    assert (original["copy_of"], original["shadow_overlap"]) == (None, None)
    assert (copy["copy_of"], copy["shadow_overlap"], copy["shadow_top1"], copy["shadow_nans"]) == (0, 0.5, True, 2)
    assert copy["shadow_note"] is None


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "a" * 32),
        ("00-" + "0" * 32 + "-" + "b" * 16 + "-01", None),
        ("00-" + "A" * 32 + "-" + "b" * 16 + "-01", None),
        ("", None),
    ],
)
def test_the_id_of_a_trace(traceparent: str, expected: str | None) -> None:
    assert trace_id(traceparent) == expected


def test_rows_beyond_reason_cost_their_batch_nothing() -> None:
    assert [row["rows"] for row in encoded(record(0, rows=2**40), record(1, rows=3))] == [2**31 - 1, 3]
