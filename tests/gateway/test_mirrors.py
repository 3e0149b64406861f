"""Copies: kept, compared, recorded; and in nobody's way."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import numpy as np

from tests.gateway.world import SIGNATURE, World, query, table, turns
from turnout_server.gateway.mirrors import Compared, Mirrors, Pair
from turnout_server.tasks.comparison import compare
from turnout_server.vocabulary.record import Comparison
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import bf16_of
from turnout_server.vocabulary.versions import VersionKey

PRICE, RANK = VersionKey("price", 1), VersionKey("rank", 1)
MIRROR = "    mirrors:\n      - {model: rank, version: champion}\n"


class Comparer:
    """Keeps pairs until it is told to answer, or says why it takes none."""

    def __init__(self, why_not: str = "") -> None:
        self.why_not = why_not
        self.pairs: list[tuple[Pair, Compared]] = []

    def offer(self, pair: Pair, then: Compared) -> str:
        if not self.why_not:
            self.pairs.append((pair, then))
        return self.why_not


async def world_of(
    tmp_path: Path,
    comparer: Comparer | None = None,
    *,
    slow: bool = False,
    limit: int = 16,
    patience_s: float = 60.0,
    signature: Signature = SIGNATURE,
) -> World:
    world = World(tmp_path / "store", slow=slow)
    world.publish("price", "champion", signature=signature)
    world.publish("rank", "champion", signature=signature)
    world.routes(table("only price champion 1", route="cost", more=MIRROR))
    await world.start()
    records = world.data_plane._records
    mirrors = Mirrors(
        world.names, world.manager, world.instruments, records, limit, lambda: 0.0, comparer, patience_s=patience_s
    )
    world.data_plane._mirrors = mirrors
    return world


async def ask(world: World, unit: str = "u", **fields: object) -> None:
    await world.data_plane.infer(query("cost", unit=unit, **fields))
    await turns()


def outcomes(world: World) -> dict[object, int]:
    return {labels[-1]: count for labels, count in world.counted("turnout.mirrors").items()}


async def test_a_copy_is_recorded_with_the_number_of_what_was_copied(tmp_path: Path) -> None:
    world = await world_of(tmp_path)
    await ask(world, request_id="mine")
    original, copy = world.ended
    assert (original.copy_of, copy.copy_of, copy.seq) == (-1, original.seq, 1)
    assert (copy.unit, copy.request_id, copy.code) == ("u", "mine", "OK")
    assert copy.decision is not None
    assert copy.decision[:5] == ("cost", "", "rank", 1, original.decision.reason)  # type: ignore[union-attr]
    assert copy.decision.assigned == "only"
    assert world.counted("turnout.requests") == {("cost", "only", "price", 1, "SPLIT", "OK"): 1}


async def test_a_pair_has_both_answers_and_the_record_waits_for_the_comparison(tmp_path: Path) -> None:
    comparer = Comparer()
    world = await world_of(tmp_path, comparer)
    await ask(world, x=2.0)
    ((pair, then),) = comparer.pairs
    assert (pair.task, pair.record.seq, pair.copied.model) == ("tensors", 0, "rank")
    assert pair.original["y"].tolist() == pair.copy["y"].tolist() == [[20.0]]
    assert (len(world.ended), world.leases()) == (1, 0), "the version is free while the answers are compared"
    then(Comparison(absolute=0.0))
    assert world.ended[1].comparison == Comparison(absolute=0.0)


async def test_answers_in_bf16_are_compared_as_the_numbers_that_they_are(tmp_path: Path) -> None:
    """Their arrays are the bits, in which 1.5 and -1.5 are 32,768 apart, and a NaN is a number."""
    comparer = Comparer()
    signature = Signature(SIGNATURE.inputs, (TensorSpec("y", DType.BF16, (-1,)), TensorSpec("n", DType.UINT16, (-1,))))
    world = await world_of(tmp_path, comparer, signature=signature)
    for key, values in ((PRICE, [1.5, 2.0, math.nan]), (RANK, [-1.5, 2.5, math.nan])):
        bits = bf16_of(np.array(values))
        world.predictors[key].run = lambda inputs, outputs, bits=bits: [bits, bits]  # type: ignore[method-assign]
    await ask(world)
    ((pair, _),) = comparer.pairs
    found = compare(pair.task, {"y": pair.original["y"]}, {"y": pair.copy["y"]})
    assert found == Comparison(absolute=3.0, relative=2.0, nans=0)
    found = compare(pair.task, {"n": pair.original["n"]}, {"n": pair.copy["n"]})
    assert (found.absolute, found.note) == (32768.0, "")


async def test_what_is_not_compared_says_why(tmp_path: Path) -> None:
    world = await world_of(tmp_path, Comparer("busy"))
    await ask(world)
    assert world.ended[1].comparison == Comparison(note="busy")


async def test_a_copy_that_fails_is_recorded_and_shows_nowhere_else(tmp_path: Path) -> None:
    world = await world_of(tmp_path, Comparer())
    world.predictors[RANK].error = ZeroDivisionError()
    await ask(world)
    assert [(record.code, record.copy_of) for record in world.ended] == [("OK", -1), ("INTERNAL", 0)]
    assert outcomes(world) == {"failed": 1}


async def test_a_small_mirror_gets_its_copies_also_while_cheap_requests_keep_the_route_busy(tmp_path: Path) -> None:
    world = await world_of(tmp_path)
    for number in range(200):
        await world.data_plane.infer(query("cost", unit=str(number)))  # without a pause
    await turns()
    assert outcomes(world) == {"sent": 200}


async def test_the_version_that_has_answered_gets_no_copy(tmp_path: Path) -> None:
    world = await world_of(tmp_path)
    world.routes(table("only rank champion 1", route="cost", more=MIRROR))
    await world.look()
    await ask(world)
    assert outcomes(world) == {"same": 1}
    assert (len(world.ended), world.leases()) == (1, 0)


async def test_copies_are_bounded_in_number_and_what_is_beyond_is_dropped(tmp_path: Path) -> None:
    world = await world_of(tmp_path, limit=0)
    await ask(world)
    assert outcomes(world) == {"dropped": 1}
    assert len(world.ended) == 1, "a copy that was never sent is no request"


async def busy_world(tmp_path: Path, patience_s: float) -> World:
    """Return a world in which a dear request was answered, and other requests keep every core busy."""
    world = await world_of(tmp_path, slow=True, patience_s=patience_s)
    asked = asyncio.create_task(world.data_plane.infer(query("cost", unit="u")))
    await turns()
    others = [asyncio.create_task(world.data_plane.infer(query("rank"))) for _ in range(2)]
    await turns()
    world.runs.release(0)
    await asked
    await turns()
    assert not any(other.done() for other in others)
    return world


async def test_a_dear_copy_waits_until_it_is_in_nobodys_way(tmp_path: Path) -> None:
    world = await busy_world(tmp_path, patience_s=60.0)
    assert outcomes(world) == {}
    mirrors = world.data_plane._mirrors
    assert mirrors is not None
    while world.runs.jobs:
        world.runs.release()
        await turns()
    mirrors._look()  # it looks by itself, too: where the machine is slow, maybe before this
    await turns()
    while world.runs.jobs:
        world.runs.release()
        await turns()
    assert outcomes(world) == {"sent": 1}
    assert world.leases() == 0


async def test_a_copy_that_waits_for_too_long_is_dropped(tmp_path: Path) -> None:
    world = await busy_world(tmp_path, patience_s=1e-9)
    mirrors = world.data_plane._mirrors
    assert mirrors is not None
    mirrors._look()
    assert outcomes(world) == {"dropped": 1}


async def test_copies_that_run_or_wait_at_the_end_are_recorded_and_counted_before_it(tmp_path: Path) -> None:
    world = await busy_world(tmp_path, patience_s=60.0)
    mirrors = world.data_plane._mirrors
    assert mirrors is not None
    mirrors.close()
    assert outcomes(world) == {"dropped": 1}
    assert not mirrors._waiting


async def test_a_copy_that_runs_at_the_end_has_one_record_and_gives_its_version_back(tmp_path: Path) -> None:
    world = await world_of(tmp_path, Comparer(), slow=True)
    asked = asyncio.ensure_future(ask(world))
    await turns()
    world.runs.release()
    await asked
    mirrors = world.data_plane._mirrors
    assert mirrors is not None
    assert len(mirrors._running) == 1
    mirrors.close()
    assert [(one.code, one.copy_of) for one in world.ended] == [("OK", -1), ("CANCELLED", 0)]
    world.runs.release()
    await turns()
    assert len(world.ended) == 2
    assert outcomes(world) == {"failed": 1}
    assert world.leases() == 0
