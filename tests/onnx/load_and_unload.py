"""Loads and unloads a version over and over, as the gateway does, and prints the process's memory after each time.

Run as a process of its own: VERSION_DIRECTORY ROUNDS.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.onnx.graphs import manifest
from turnout_server.execution.runner import Runner
from turnout_server.execution.workers import Workers
from turnout_server.onnx.loader import load
from turnout_server.scheduling.admission import Admission
from turnout_server.scheduling.batcher import Batcher
from turnout_server.scheduling.cost import CostModel
from turnout_server.serving.manager import Manager
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.versions import VersionKey

SIGNATURE = Signature((TensorSpec("i", DType.INT64, (-1,)),), (TensorSpec("y", DType.FP32, (-1, 256)),))


def resident_kib() -> int:
    """Return this process's resident memory in KiB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


async def main(directory: Path, rounds: int) -> None:
    """Load, unload, print; *rounds* times."""
    workers = Workers(asyncio.get_running_loop(), None, 1, 1e12)  # type: ignore[arg-type]

    def load_version(key: VersionKey) -> Runner:
        servable, measured = load(directory, manifest(SIGNATURE))
        return Runner(servable, Batcher(Admission(*key, 10, 10)), CostModel(measured), workers)

    manager: Manager[Runner] = Manager(load_version, Runner.close)
    for _ in range(rounds):
        for wish in (frozenset({VersionKey("price", 3)}), frozenset[VersionKey]()):
            manager.aspire(wish)
            while not manager.settled:
                await manager.wait_changed()
        print(resident_kib(), flush=True)
    await manager.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
