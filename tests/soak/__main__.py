"""The soak: everything that can happen to a gateway, all at once, for as long as you like. `make soak` runs it.

A real server, in a process of its own, serves a store of its own while clients call in every way, right and wrong, give
up, vanish, attack and come in floods, while versions, labels and routes change, and while the store has accidents and
the disk lies. Every answer is compared with what NumPy says that the version which answered should answer. In the end
nothing may be lost, mixed up, leaked, miscounted or complained of, and SIGTERM has to end the server in order.

| module | what it is |
|---|---|
| `models` | the models, with their oracles |
| `shelf` | what is in the store: who may answer; route tables, good and broken |
| `asks` | random requests, and how they may end |
| `callers`, `vandals`, `attackers` | those who call, those who vanish, those who mean harm |
| `keeper`, `disk` | the one who changes the store, and the disk that lies to the server |
| `judge`, `ledger`, `accounts`, `logs` | whether an answer, all ends, the server's counts and its log are right |
| `soak` | a whole run |

One seed gives everybody the same random numbers again. What the system's scheduling makes of them differs a little from
run to run, so a failure may need some runs to come back.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.soak.soak import Plan, Soak

SHOWN = 20
"""Problems that are printed; all of them are in a file."""


def main() -> int:
    """Run once; return the exit code."""
    parser = argparse.ArgumentParser(prog="make soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long everybody is at it; 60")
    parser.add_argument("--seed", type=int, default=None, help="an earlier run's; a new one by default")
    parser.add_argument(
        "--data-plane",
        choices=("auto", "engine", "python"),
        default="auto",
        help="the server's: the engine, or one of Python's; auto, the engine where it is installed",
    )
    parser.add_argument("--keep", action="store_true", help="keep the store and the logs of a good run too")
    given = parser.parse_args()
    seed = SystemRandom().randrange(10**6) if given.seed is None else given.seed
    again = f'make soak SOAK_ARGS="--seed {seed} --seconds {given.seconds:g} --data-plane {given.data_plane}"'
    print(f"soak: seed {seed}, {given.seconds:g} s, data plane {given.data_plane}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="turnout-soak-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C, so that the server ends with us
    problems = asyncio.run(Soak(Plan(seed, given.seconds, given.data_plane, directory)).run())
    if problems:
        (directory / "problems.txt").write_text("\n".join(problems) + "\n", encoding="utf-8")
        print(f"\n{len(problems)} problems:", *problems[:SHOWN], sep="\n  ")
        print(f"\nproblems.txt, server.log and keeper.log are in {directory}\nto run it again: {again}")
        return 1
    print("soak: all is well")
    if given.keep:
        print(f"the store and the logs are in {directory}")
    else:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
