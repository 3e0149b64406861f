"""A whole experiment in some minutes: simulated shoppers, a true effect that is known, a real gateway, and the verdict.

    python clients/python/examples/experiment.py --store model_store --seconds 60

It serves a copy of the store on a port of its own, starts an experiment on the route `ranking`, and sends shoppers
through the real client: each asks for a ranking, and some buy, those whose products the canary ranked more often than
others. Each purchase is an outcome. Then it asks which version is better. Every command that it runs is shown, to be
run by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import turnout

BUYS = {"control": 0.10, "canary": 0.13}
"""How probable it is that a shopper buys: the truth, which the experiment is to find."""
DEFINITION = """\
name: canary-ranks-better
question: Do shoppers buy more where the canary ranks?
route: ranking
control: control
treatments: [canary]
window: {window}s
units: {units}
primary: conversion
guardrails: [revenue]
metrics:
  conversion: {{kind: proportion, outcome: purchase}}
  revenue: {{kind: mean, outcome: purchase, cap: 500, margin: 0.2}}
"""
UNITS_A_SECOND = 150
"""What the experiment is planned for; any number is right."""


async def shop(client: turnout.AsyncClient, samples: Sequence[Mapping[str, Any]], number: int) -> str:
    """Be one shopper: ask, and perhaps buy. Return the target that ranked."""
    draw = random.Random(number)
    sample = draw.choice(samples)
    unit, candidates = f"shopper-{number}", sample["candidates"]
    answer = await client.rank(
        "ranking", ids=candidates["item_ids"], columns=candidates["features"], context=sample["context"], unit=unit
    )
    if draw.random() < BUYS[answer.served.target]:
        await client.outcome("purchase", round(draw.lognormvariate(3, 0.8), 2), unit=unit)
    return answer.served.target


async def simulate(target: str, samples: Sequence[Mapping[str, Any]], seconds: float, concurrency: int) -> Counter[str]:
    """Send shoppers for so long, and return how many each target got."""
    served: Counter[str] = Counter()
    end, numbers = time.monotonic() + seconds, iter(range(sys.maxsize))

    async def worker(client: turnout.AsyncClient) -> None:
        while time.monotonic() < end:
            served[await shop(client, samples, next(numbers))] += 1

    async with turnout.AsyncClient(target) as client:
        await asyncio.gather(*(worker(client) for _ in range(concurrency)))
        await client.flush()
    return served


def turnout_command(*arguments: str, accepted: Sequence[int] = (0,)) -> None:
    """Show a command, and run it.

    Raises:
        SystemExit: it ended with another code than those.
    """
    print(f"\n$ turnout {shlex.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "turnout_server", *arguments], check=False, timeout=600).returncode
    if code not in accepted:
        sys.exit(code)


@contextlib.contextmanager
def gateway(store: Path, journal: Path, log: Path) -> Iterator[str]:
    """Serve *store* on a free port until the end, and give the address."""
    command = [sys.executable, "-m", "turnout_server", "serve", "--store", str(store), "--listen", "127.0.0.1:0"]
    command += ["--metrics", "127.0.0.1:0", "--set", f"journal.path={journal}", "--set", "journal.rotate_s=2"]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink)
        try:
            assert process.stdout is not None
            yield _address(process.stdout, log)
        finally:
            process.terminate()
            process.wait(timeout=60)


def _address(lines: Any, log: Path) -> str:
    for line in lines:
        words = line.decode().split()
        if words[:2] == ["turnout", "serves"]:
            return str(words[-1])
    raise SystemExit(f"the gateway did not start: see {log}")


def main() -> int:
    """Run the experiment; return 0 if there was a verdict, 3 if it is open, 4 if the data cannot be believed."""
    parser = argparse.ArgumentParser(description="Run a whole experiment with simulated shoppers.")
    parser.add_argument("--store", type=Path, default=Path("model_store"), metavar="DIR")
    parser.add_argument("--samples", type=Path, default=Path("model_store/samples/ranking.json"), metavar="FILE")
    parser.add_argument("--folder", type=Path, default=Path("build/experiment"), metavar="DIR", help="made anew")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long shoppers come")
    parser.add_argument("--window", type=int, default=20, help="seconds in which a purchase counts")
    parser.add_argument("--concurrency", type=int, default=16, help="shoppers at a time")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store, journal = folder / "store", folder / "journal"
    shutil.copytree(arguments.store, store, ignore=shutil.ignore_patterns("audit", "experiments", "samples"))
    definition = folder / "experiment.yaml"
    units = max(int(arguments.seconds * UNITS_A_SECOND), 20)
    definition.write_text(DEFINITION.format(window=arguments.window, units=units), encoding="utf-8")
    os.environ |= {"TURNOUT_STORE": str(store), "TURNOUT_JOURNAL": str(journal)}
    samples = json.loads(arguments.samples.read_text(encoding="utf-8"))["requests"]

    print(f"the truth: {', '.join(f'{share:.0%} buy with {target}' for target, share in BUYS.items())}")
    turnout_command("experiment", "check", str(definition))
    with gateway(store, journal, folder / "gateway.log") as target:
        turnout_command("experiment", "start", str(definition))
        served = asyncio.run(simulate(target, samples, arguments.seconds, arguments.concurrency))
        print(f"\n{sum(served.values())} shoppers: {', '.join(f'{n} by {name}' for name, n in sorted(served.items()))}")
        print(f"waiting {arguments.window} s, until the last one's window has closed", flush=True)
        time.sleep(arguments.window + 1)
    verdicts = (0, 3, 4)
    turnout_command("experiment", "analyse", "canary-ranks-better", accepted=verdicts)
    turnout_command(
        "experiment", "report", "canary-ranks-better", "--output", str(folder / "report.html"), accepted=verdicts
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
