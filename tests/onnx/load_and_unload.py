"""Loads and unloads a version over and over, as the gateway does, and prints the process's memory after each time.

Run as a process of its own: VERSION_DIRECTORY ROUNDS OPENER, the last being `binding` or `engine`.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

from tests.onnx.graphs import manifest
from turnout_server.execution.loading import Loading, Opened
from turnout_server.execution.runner import Runner
from turnout_server.execution.workers import working
from turnout_server.instruments.instruments import Instruments
from turnout_server.onnx.trial import load
from turnout_server.serving.manager import Manager
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.versions import VersionKey

SIGNATURE = Signature((TensorSpec("i", DType.INT64, (-1,)),), (TensorSpec("y", DType.FP32, (-1, 256)),))
KEY = VersionKey("price", 3)


def resident_kib() -> int:
    """Return this process's resident memory in KiB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


async def main(directory: Path, rounds: int, opener: str) -> None:
    """Load, unload, print; *rounds* times."""
    open_session = importlib.import_module(f"turnout_server.onnx.{opener}").open_session

    def open_version(key: VersionKey) -> Opened:
        loaded = load(directory, manifest(SIGNATURE), open_session)
        return Opened(loaded.servable, loaded.measured, loaded.independent)

    with working() as workers:
        manager: Manager[Runner] = Manager(Loading(open_version, workers, Instruments()).load, Runner.close)
        for _ in range(rounds):
            for wish in (frozenset({KEY}), frozenset[VersionKey]()):
                manager.aspire(wish)
                while not manager.settled:
                    await manager.wait_changed()
                # What was never loaded leaves nothing behind either.
                if manager.is_available(KEY) is not bool(wish):
                    raise SystemExit(f"{KEY} is {'not ' if wish else ''}there")
            print(resident_kib(), flush=True)
        await manager.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
