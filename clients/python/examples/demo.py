"""Sends held-out real requests to a running gateway, and shows live which versions answer and how fast.

    python clients/python/examples/demo.py --target 127.0.0.1:8001 --samples model_store/samples --seconds 15

The requests were set aside when the models were trained; see `pipelines/samples.py` for their format. There are fewer
than it takes to show a split, so each time one is sent it is another unit's. It needs `rich` for its table; the client
itself does not.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

import turnout

Send = Callable[[turnout.AsyncClient, str, Mapping[str, Any]], Awaitable[Any]]
RECENT = 2000
"""Latencies are those of so many latest answers of a version."""


async def recommend(client: turnout.AsyncClient, route: str, sample: Mapping[str, Any]) -> Any:
    """Ask what a customer may want next."""
    history, exclude = sample["history"], sample.get("exclude", ())
    return await client.recommend(route, history, exclude=exclude, k=sample.get("k", 10), unit=sample["unit"])


async def rank(client: turnout.AsyncClient, route: str, sample: Mapping[str, Any]) -> Any:
    """Ask in which order to show some products."""
    candidates = sample["candidates"]
    return await client.rank(
        route,
        ids=candidates["item_ids"],
        columns=candidates["features"],
        context=sample["context"],
        unit=sample["unit"],
    )


async def predict_price(client: turnout.AsyncClient, route: str, sample: Mapping[str, Any]) -> Any:
    """Ask what an article should cost."""
    return await client.predict_price(route, sample["features"], unit=sample["unit"])


SENDERS: Mapping[str, Send] = {"recommendation": recommend, "ranking": rank, "price": predict_price}


class Source(NamedTuple):
    """Where one route's requests come from."""

    route: str
    send: Send
    samples: Iterator[Mapping[str, Any]]


class Tally:
    """What came back."""

    def __init__(self) -> None:
        self.answers: Counter[turnout.Served] = Counter()
        self.errors: Counter[tuple[str, str]] = Counter()
        self.latencies: defaultdict[turnout.Served, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        self.started = time.monotonic()

    async def send(self, client: turnout.AsyncClient, source: Source) -> None:
        """Send the next request of *source* and note what becomes of it."""
        sample = next(source.samples)
        started = time.perf_counter()
        try:
            answer = await source.send(client, source.route, sample)
        except turnout.TurnoutError as error:
            self.errors[source.route, f"{error.reason}: {error}"] += 1
            await asyncio.sleep(0.2)
            return
        self.answers[answer.served] += 1
        self.latencies[answer.served].append((time.perf_counter() - started) * 1000)

    def table(self) -> Group:
        """Return the tally as a table and a line of totals."""
        table = Table(title="Who answers", title_justify="left", box=None, padding=(0, 2, 0, 0))
        for name in ("route", "target", "version"):
            table.add_column(name, overflow="fold")
        for name in ("share", "answers", "p50 ms", "p99 ms"):
            table.add_column(name, justify="right", no_wrap=True)
        per_route: Counter[str] = Counter()
        for served, count in self.answers.items():
            per_route[served.route] += count
        for served in sorted(self.answers, key=lambda served: (served.route, served.target, served.version)):
            count = self.answers[served]
            recent = sorted(self.latencies[served])
            table.add_row(
                served.route,
                served.target,
                f"{served.model} {served.version}",
                f"{100 * count / per_route[served.route]:.1f} %",
                str(count),
                f"{statistics.median(recent):.2f}",
                f"{recent[int(len(recent) * 0.99)]:.2f}",
            )
        total, seconds = sum(self.answers.values()), time.monotonic() - self.started
        lines = [Text(f"{total} answers in {seconds:.1f} s, {total / max(seconds, 1e-9):.0f} a second")]
        lines += [
            Text(f"{count} errors on {route}: {text}", style="red") for (route, text), count in self.errors.items()
        ]
        return Group(table, *lines)


def sources(directory: Path) -> list[Source]:
    """Return a source of requests for every file of samples; the file's name is the route's."""
    found = []
    for file in sorted(directory.glob("*.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        found.append(Source(file.stem, SENDERS[document["task"]], units(document["requests"])))
    return found


def units(samples: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield *samples* over and over, each time as another unit's: only many units are split as the weights say."""
    for number in itertools.count():
        for sample in samples:
            yield {**sample, "unit": f"{sample['unit']}-{number}"}


async def run(target: str, directory: Path, seconds: float, concurrency: int, console: Console) -> Tally:
    """Send requests for *seconds*, *concurrency* at a time on every route.

    Raises:
        turnout.TurnoutError: there is no gateway, or it does not serve.
    """
    tally = Tally()
    end = time.monotonic() + seconds

    async def worker(client: turnout.AsyncClient, source: Source) -> None:
        while time.monotonic() < end:
            await tally.send(client, source)

    async with turnout.AsyncClient(target, retries=0, timeout=5.0) as client:
        if (health := await client.health()) != "SERVING":
            raise turnout.UnavailableError(f"{target} is {health}", code="UNAVAILABLE")
    async with turnout.AsyncClient(target) as client:
        with Live(console=console, get_renderable=tally.table, refresh_per_second=4, transient=False):
            await asyncio.gather(*(worker(client, source) for source in sources(directory) for _ in range(concurrency)))
    return tally


def main() -> int:
    """Run the demo; return 1 if nothing was answered or something failed."""
    parser = argparse.ArgumentParser(description="Send held-out real requests and watch who answers.")
    parser.add_argument("--target", default="127.0.0.1:8001", metavar="HOST:PORT")
    parser.add_argument("--samples", type=Path, default=Path("model_store/samples"), metavar="DIR")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--concurrency", type=int, default=4, help="requests at a time on every route")
    arguments = parser.parse_args()
    if not sources(arguments.samples):
        sys.stderr.write(f"no samples in {arguments.samples}\n")
        return 2
    # A pipe has no width; the table needs this much.
    console = Console() if sys.stdout.isatty() else Console(width=80)
    try:
        tally = asyncio.run(run(arguments.target, arguments.samples, arguments.seconds, arguments.concurrency, console))
    except turnout.TurnoutError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    if not console.is_terminal:  # else the display has ended its last line itself
        console.line()
    return 1 if tally.errors or not tally.answers else 0


if __name__ == "__main__":
    sys.exit(main())
