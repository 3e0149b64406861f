"""What becomes of a record, column by column."""

from __future__ import annotations

import hashlib
from typing import Any

import duckdb
import pytest
from arro3.core import Table

from tests.journal.records import DECISION, KEY, record
from turnout_server.journal.columns import SCHEMA, Encoder, trace_id
from turnout_server.journal.keys import key_id
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
