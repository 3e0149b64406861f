"""The engine's data plane, as it is told what to serve; what it answers is seen in `tests/differential`."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
import pytest

pytest.importorskip("turnout_engine")

from tests.onnx.graphs import linear
from turnout_server.config import LimitsConfig
from turnout_server.engine.plane import EnginePlane, Terms
from turnout_server.onnx.engine import open_session
from turnout_server.routing.view import View
from turnout_server.scheduling.batcher import Rules
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.versions import VersionKey

SIGNATURE = Signature((TensorSpec("x", DType.FP32, (-1, 2)),), (TensorSpec("y", DType.FP32, (-1, 1)),))


def terms(signature: Signature = SIGNATURE) -> Terms:
    return Terms(VersionKey("price", 1), signature, True, {1: 1000}, Rules())


@pytest.fixture
def plane() -> EnginePlane:
    return EnginePlane(LimitsConfig(), runs=3, threads=16, boot="b", most_records=100)


@pytest.fixture
def session(tmp_path: Path) -> object:
    onnx.save(linear(), tmp_path / "model.onnx")
    return open_session(tmp_path / "model.onnx", RuntimeOptions()).native


def test_numbers_go_up_by_one_and_are_given_once(plane: EnginePlane) -> None:
    assert [plane.number()[1] for _ in range(3)] == [0, 1, 2]
    assert plane.ended() == ([], [], [], None)


def test_servables_have_numbers_of_their_own_and_nothing_waits_for_them_yet(
    plane: EnginePlane, session: object
) -> None:
    one, other = plane.servable(terms(), session), plane.servable(terms(), session)
    assert (one.id, other.id, one.key, one.waiting_rows) == (1, 2, VersionKey("price", 1), 0)
    plane.serve(View(), ["price", "rank"], [one])
    plane.close()
    assert plane.inside == 0


def test_a_bound_may_be_beyond_all_numbers(session: object) -> None:
    limits = LimitsConfig(queue_wait_ms=math.inf)
    plane = EnginePlane(limits, runs=3, threads=16, boot="b")
    endless = terms()._replace(rules=Rules(inline_below_ns=math.inf))
    assert plane.servable(endless, session).waiting_rows == 0


def test_a_session_without_what_the_signature_says_is_refused(plane: EnginePlane, session: object) -> None:
    other = Signature((TensorSpec("z", DType.FP32, (-1, 2)),), SIGNATURE.outputs)
    with pytest.raises(ValueError, match='the graph has no "z"'):
        plane.servable(terms(other), session)


def test_the_next_number_is_found_by_who_outlives_the_process(plane: EnginePlane, tmp_path: Path) -> None:
    file = tmp_path / "counts"
    file.write_bytes(bytes(24))
    plane.number()
    plane.count_in(file, 8)
    plane.number()
    assert file.read_bytes() == bytes(8) + (2).to_bytes(8, "little") + bytes(8)
    with pytest.raises(OSError, match="No such file"):
        plane.count_in(tmp_path / "nothing", 8)
