"""Turns records into columns. Decisions repeat, so each is looked at once a batch.

`engine/src/journal/arrow.rs` makes the same columns of the native data plane's records.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from arro3.core import Array, DataType, Field, RecordBatch, Schema, Table

from turnout_server.journal.boot import Boot
from turnout_server.journal.keys import key_id
from turnout_server.journal.schema import COLUMNS, VERSION
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.record import Comparison, Page, Record

_TYPES: Final = {
    "INTEGER": DataType.int32(),
    "BIGINT": DataType.int64(),
    "VARCHAR": DataType.string(),
    "DOUBLE": DataType.float64(),
    "BOOLEAN": DataType.bool(),
    "BLOB": DataType.binary(),
    "TIMESTAMPTZ": DataType.timestamp("us", tz="UTC"),
}
_OWN: Final = frozenset({"schema", "instance", "boot"})
"""Columns that are the same in all rows of a boot: they are added to a segment, not to each batch."""
_REPEATED: Final = frozenset(
    {
        "route",
        "experiment",
        "layer",
        "epoch",
        "table_digest",
        "unit_key_id",
        "assigned",
        "served",
        "model",
        "reason",
        "code",
    }
)
"""Texts of which a batch has few distinct ones: each is there once, and rows say which."""
_DICTIONARY: Final = DataType.dictionary(DataType.int32(), DataType.string())
_ARROW: Final = {
    name: _DICTIONARY if name in _REPEATED else _TYPES[kind] for name, kind in COLUMNS.items() if name not in _OWN
}
SCHEMA: Final = Schema([Field(name, kind, nullable=True) for name, kind in _ARROW.items()])
_SHADOW: Final = tuple(name for name in COLUMNS if name.startswith("shadow_"))
_SELDOM: Final = ("experiment", "layer", "enrolled", "override", "principal", "copy_of", *_SHADOW)
_NOT_COMPARED: Final = (None,) * len(_SHADOW)
_MOST_ROWS: Final = 2**31 - 1
"""Tensors without bytes may claim to have more; the column cannot."""
_NO_TRACE: Final = "0" * 32
_HEXADECIMAL: Final = "0123456789abcdef"


class Encoder:
    """Makes batches of records."""

    def __init__(self, key: bytes) -> None:
        """Hash units with *key*."""
        self._key = key
        self._key_id = key_id(key)
        self._fresh_hash = blake2b(key=key, digest_size=16).copy  # costs less than a new one a unit

    def encode(self, records: Sequence[Record]) -> RecordBatch:
        """Return *records*, all of which have a decision, as one batch, without `own_columns`.

        Raises:
            Exception: one of them cannot be written, whatever is wrong with it.
        """
        seqs, arrived, took, codes, decisions, _, units, ids, rows, timings, traces, principals, copies, comparisons = (
            zip(*records, strict=True)
        )
        hashes = [self._hashed(unit) if unit else None for unit in units]
        columns: dict[str, Any] = {
            "ts": Array([ns // 1000 for ns in arrived], DataType.int64()).cast(_ARROW["ts"]),
            "seq": seqs,
            "request_id": ids,
            "unit": hashes,
            "code": _often_equal("code", codes),
            "took_us": [ns // 1000 for ns in took],
            "queue_us": [timing and timing[0] // 1000 for timing in timings],
            "rows": _often_equal("rows", rows if max(rows) <= _MOST_ROWS else [min(one, _MOST_ROWS) for one in rows]),
        }
        if None not in hashes:
            columns["unit_key_id"] = _constant(len(records), "unit_key_id", self._key_id)
        elif any(hashes):
            columns["unit_key_id"] = [one and self._key_id for one in hashes]
        if any(traces):
            columns["trace_id"] = list(map(trace_id, traces))
        if any(principals):
            columns["principal"] = [one or None for one in principals]
        if max(copies) >= 0:
            columns["copy_of"] = [one if one >= 0 else None for one in copies]
            columns.update(zip(_SHADOW, zip(*map(_compared, comparisons), strict=True), strict=True))
        columns.update(_of_decisions(decisions))
        return RecordBatch.from_arrays(
            [_array(name, columns.get(name), len(records)) for name in _ARROW], schema=SCHEMA
        )

    def encode_pages(self, pages: Sequence[Page]) -> RecordBatch:
        """Return the records on *pages*, which are of no use afterwards, likewise. It does not hold Python's lock.

        Raises:
            Exception: they cannot be written, whatever is wrong with them.
        """
        first, *later = pages
        for page in later:
            first.join(page)
        return RecordBatch.from_arrow_pycapsule(*first.encode(self._key, self._key_id))

    def _hashed(self, unit: str) -> bytes:
        hasher = self._fresh_hash()
        hasher.update(unit.encode("utf-8", "surrogatepass"))
        return hasher.digest()


def merged(batches: Sequence[RecordBatch]) -> RecordBatch:
    """Return the records of all of *batches* in the order of their numbers."""
    (together,) = Table.from_batches(batches).combine_chunks().to_batches()
    order = together.column("seq").to_numpy().argsort()
    return together.take(Array.from_numpy(order))


def ends_of(batch: RecordBatch) -> tuple[int, int, int]:
    """Return the first number in a batch, the last, and when the first one's request came, in microseconds."""
    seqs = batch.column("seq").to_numpy()
    (first_us,) = batch.column("ts").slice(0, 1).cast(DataType.int64()).to_numpy()
    return int(seqs[0]), int(seqs[-1]), int(first_us)


def own_columns(boot: Boot) -> dict[str, str | int | None]:
    """Return what every row of *boot* has in the columns that batches leave out."""
    return {"schema": VERSION, "instance": boot.instance, "boot": boot.boot}


def empty_columns(batches: Sequence[RecordBatch]) -> list[str]:
    """Return which of the columns that only some records fill have nothing in any of *batches*."""
    return [name for name in _SELDOM if all(one.column(name).null_count == one.num_rows for one in batches)]


def _array(name: str, column: Any, count: int) -> Array:
    if column is None:
        return _constant(count, name, None)
    return column if isinstance(column, Array) else _made(name, column)


def _made(name: str, values: Sequence[Any]) -> Array:
    if name in _REPEATED:
        return Array(values, _TYPES["VARCHAR"]).cast(_DICTIONARY)
    return Array(values, _ARROW[name])


def _often_equal(name: str, values: Sequence[Any]) -> Any:
    return _constant(len(values), name, values[0]) if len(set(values)) == 1 else values


@lru_cache(maxsize=256)
def _constant(count: int, name: str, value: Any) -> Array:
    """Return a column of one value: most batches are as long as others."""
    return _made(name, [value] * count)


def _compared(comparison: Comparison | None) -> Sequence[Any]:
    return _NOT_COMPARED if comparison is None else (*comparison[:-1], comparison.note or None)


def _of_decisions(decisions: Sequence[Decision]) -> dict[str, Array]:
    """Return the columns that decisions fill: each distinct one's values, taken as often as it stands there.

    Equal ones are mostly one object, and to hash a whole decision costs more than all its columns.
    """
    found = dict(zip(map(id, decisions), decisions, strict=True))
    numbers = {number: place for place, number in enumerate(found)}
    index = Array([numbers[number] for number in map(id, decisions)], DataType.uint32())
    places = list(found.values())
    values: dict[str, list[Any]] = {
        "route": [one.route or None for one in places],
        "epoch": [one.epoch or None for one in places],
        "table_digest": [one.table_digest or None for one in places],
        "assigned": [one.assigned or None for one in places],
        "served": [(one.target or None) if one.available else None for one in places],
        "model": [one.model for one in places],
        "version": [one.version for one in places],
        "reason": [one.reason.value for one in places],
        "override": [one.override if one.override >= 0 else None for one in places],
        "propensity": [one.propensity for one in places],
    }
    if any(one.experiment for one in places):
        values["experiment"] = [one.experiment or None for one in places]
        values["layer"] = [one.layer or None for one in places]
        values["enrolled"] = [one.enrolled for one in places]
    return {name: _made(name, column).take(index) for name, column in values.items()}


def trace_id(traceparent: str) -> str | None:
    """Return the id of the trace that a W3C `traceparent` names; None where it is malformed."""
    if traceparent[2:3] != "-" or traceparent[35:36] != "-":
        return None
    found = traceparent[3:35]
    # Stripping leaves nothing of what is hexadecimal: a fifth of what a regular expression takes.
    return found if found != _NO_TRACE and not found.strip(_HEXADECIMAL) else None
