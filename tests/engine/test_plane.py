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
from turnout_server.scheduling.admission import Bounds, Room
from turnout_server.scheduling.batcher import Rules
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.versions import VersionKey

SIGNATURE = Signature((TensorSpec("x", DType.FP32, (-1, 2)),), (TensorSpec("y", DType.FP32, (-1, 1)),))


def terms(plane: EnginePlane, number: int = 1, signature: Signature = SIGNATURE) -> Terms:
    room = plane.room(Bounds(10, 100))
    return Terms(number, VersionKey("price", 1), signature, True, {1: 1000}, Rules(), room, needs={1: 100, 64: 6_400})


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


def test_servables_have_their_versions_numbers_and_nobody_has_requests_of_them_yet(
    plane: EnginePlane, session: object
) -> None:
    one, other = plane.servable(terms(plane), session), plane.servable(terms(plane, 7), session)
    assert (one.id, other.id, one.key, one.holds) == (1, 7, VersionKey("price", 1), 0)
    plane.serve(View(), ["price", "rank"], [one])
    plane.close()
    assert plane.inside == 0


def test_a_bound_may_be_beyond_all_numbers(session: object) -> None:
    plane = EnginePlane(LimitsConfig(), runs=3, threads=16, boot="b")
    endless = terms(plane)._replace(rules=Rules(inline_below_ns=math.inf), queue_wait_s=math.inf)
    assert plane.servable(endless, session).holds == 0


def test_a_session_without_what_the_signature_says_is_refused(plane: EnginePlane, session: object) -> None:
    other = Signature((TensorSpec("z", DType.FP32, (-1, 2)),), SIGNATURE.outputs)
    with pytest.raises(ValueError, match='the graph has no "z"'):
        plane.servable(terms(plane, signature=other), session)


def test_the_next_number_is_found_by_who_outlives_the_process(plane: EnginePlane, tmp_path: Path) -> None:
    file = tmp_path / "counts"
    file.write_bytes(bytes(24))
    plane.number()
    plane.count_in(file, 8)
    plane.number()
    assert file.read_bytes() == bytes(8) + (2).to_bytes(8, "little") + bytes(8)
    with pytest.raises(OSError, match="No such file"):
        plane.count_in(tmp_path / "nothing", 8)


def test_no_more_calls_than_the_limit_are_in_progress_whoever_has_them() -> None:
    plane = EnginePlane(LimitsConfig(concurrent_calls=2), runs=3, threads=16, boot="b")
    assert [plane.enter() for _ in range(3)] == [True, True, False]
    assert plane.inside == 0, "they are Python's"
    plane.leave()
    assert plane.enter()


def test_rooms_are_pythons_own_in_all_that_they_say(plane: EnginePlane) -> None:
    """`Room` and the engine's go the same way, step by step."""
    bounds = Bounds(10, 100)
    steps = [("reserve", 11, 5), ("reserve", 1, 1), ("give_back", 11, 5), ("fits", 9, 99), ("fits", 10, 1)]
    steps += [("reserve", 1, 100), ("take", 20, 1), ("fits", 1, 1), ("give_back", 20, 1), ("reserve", 9, 99)]
    told = []
    for room in (Room(bounds), plane.room(bounds)):
        seen: list[object] = []
        for step, rows, nbytes in steps:
            said = getattr(room, step)(rows, nbytes)
            seen.append((step, said, room.count, room.rows))
        told.append(seen)
    assert told[0] == told[1]
    assert told[0][0] == ("reserve", True, 1, 11), "where nothing waits, anything may"


def test_all_versions_have_one_room_together() -> None:
    plane = EnginePlane(LimitsConfig(queue_total_rows=5), runs=3, threads=16, boot="b")
    plane.total.take(5, 1)
    assert not plane.total.fits(1, 1)
    assert plane.inner.total.count == 1
