"""What the engine tells of requests to be copied, as Python has it."""

from __future__ import annotations

import pytest

from turnout_server.engine.copies import copies
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.tensors import numbers_of

DECISION = ("cost", "only", "price", 1, "SPLIT", "only", -1, 1.0, "digest", "epoch", ("trial", "", True))
RECORD = (7, 1000, 20, DECISION, "u", "mine", 2, (1, 2, 3, 4, 2, 5), "00-trace")


def test_an_answered_request_has_its_outputs_and_its_record() -> None:
    outputs = [("y", "INT16", (2, 1), b"\1\0\2\0"), ("t", "BYTES", (2,), [b"", "\u6f22".encode()])]
    ((answered,), dropped) = copies(([([0, 2], "A/B", b"message", outputs, RECORD)], []))
    assert dropped == []
    assert (answered.mirrors, answered.method, answered.message) == ([0, 2], "A/B", b"message")
    assert {name: array.tolist() for name, array in answered.outputs.items()} == {
        "y": [[1], [2]],
        "t": ["", "\u6f22"],
    }
    record = answered.record
    assert (record.seq, record.arrived_ns, record.took_ns, record.code, record.route) == (7, 1000, 20, "OK", "cost")
    assert (record.unit, record.request_id, record.rows, record.timing) == ("u", "mine", 2, Timing(1, 2, 3, 4, 2, 5))
    assert (record.traceparent, record.copy_of) == ("00-trace", -1)
    assert record.decision is not None
    assert (record.decision.reason, record.decision.table_digest) == (Reason.SPLIT, "digest")


def test_bf16_is_told_from_the_numbers_that_it_would_be_by_its_bits() -> None:
    outputs = [("b", "BF16", (2,), b"\xc0\x3f\x00\xc0"), ("u", "UINT16", (2,), b"\xc0\x3f\x00\xc0")]
    ((answered,), _) = copies(([([0], "A/B", b"message", outputs, RECORD)], []))
    assert {name: array.tolist() for name, array in numbers_of(answered.outputs).items()} == {
        "b": [1.5, -2.0],
        "u": [16320, 49152],
    }


def test_what_was_dropped_is_told_by_the_mirrors_place() -> None:
    (dropped,) = copies(([], [(DECISION, 1, 3)]))[1]
    assert (dropped.decision.route, dropped.mirror, dropped.times) == ("cost", 1, 3)


def test_a_plane_that_answered_nothing_has_nothing_to_copy() -> None:
    pytest.importorskip("turnout_engine")
    from turnout_server.config import LimitsConfig
    from turnout_server.engine.plane import EnginePlane

    plane = EnginePlane(LimitsConfig(), runs=3, threads=16, boot="b", most_records=0)
    assert plane.copies(10) == ([], [])
