"""What `turnout bench` shows: a run under way, and the results."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isnan
from typing import TYPE_CHECKING, Protocol

from turnout_server.cli import output

if TYPE_CHECKING:
    from rich.live import Live

    from turnout_server.load import Answerer, Histogram, Plan, Progress, Result

_BAR = 40
"""How wide the longest bar is, in characters."""
_PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 100.0)


class View(Protocol):
    """Shows a run under way."""

    every_s: float
    """How often it wants to be told, in seconds."""

    def show(self, progress: Progress) -> None:
        """Show *progress*."""


class _Nothing:
    every_s = 3600.0

    def show(self, progress: Progress) -> None:
        pass


class _Lines:
    """A remark a second."""

    every_s = 1.0

    def __init__(self, title: str) -> None:
        self._title = title

    def show(self, progress: Progress) -> None:
        output.note(f"{self._title}, {progress.elapsed_s:.0f} s: {_now(progress)}")


class _Screen:
    """A few lines that are drawn over and over.

    Text only: to draw it takes 0.2 ms of the event loop that the calls are on, where a table of that size takes 1.2.
    """

    every_s = 0.5

    def __init__(self, title: str, live: Live) -> None:
        self._title = title
        self._live = live
        # The first line and the first bar cost tens of milliseconds, once: now rather than in the run.
        self._draw([title, _bar(1.0, 2.0)])

    def show(self, progress: Progress) -> None:
        """Draw throughput, latency and who answered."""
        lines = [
            f"{self._title}: {progress.elapsed_s:.0f} s",
            f"now     {_now(progress)}",
            f"so far  {_latency(progress.latency)}",
        ]
        lines += [
            f"{_bar(share, 1.0):{_BAR}}  {output.percent(round(share, 3))}  {name}"
            for name, share in _shares(progress.served)
        ]
        self._draw(lines)

    def _draw(self, lines: Sequence[str]) -> None:
        from rich.text import Text

        self._live.update(Text("\n".join(map(output.plain, lines))), refresh=True)


@contextmanager
def watching(route: str, plan: Plan, *, quiet: bool) -> Iterator[View]:
    """Lend what shows the run: nothing if *quiet*, a live display on a terminal, lines on stderr elsewhere."""
    if quiet or not sys.stdout.isatty():
        yield _Nothing() if quiet else _Lines(named(plan))
        return
    from rich.console import Console
    from rich.live import Live

    # A redirected stdout would have no encoding, which bars depend on.
    with Live(console=Console(), auto_refresh=False, transient=True, redirect_stdout=False) as live:
        yield _Screen(f"{route}, {named(plan)}", live)


def named(plan: Plan) -> str:
    """Return what tells this run from the others: `8 callers`, `500 a second`."""
    if plan.rate is not None:
        return f"{output.number(plan.rate)} a second"
    return "1 caller" if plan.concurrency == 1 else f"{plan.concurrency} callers"


def _now(progress: Progress) -> str:
    if progress.warming_up or not progress.codes:
        return f"{_throughput(progress.throughput)} answers/s, warming up"
    return (
        f"{_throughput(progress.throughput)} answers/s, {_latency(progress.recent)}, "
        f"{progress.failed:,} of {progress.codes.total():,} failed"
    )


def _latency(latency: Histogram) -> str:
    if not latency.count:
        return "no latency yet"
    return f"p50 {_ms(latency.percentile(50.0))} ms, p99 {_ms(latency.percentile(99.0))} ms"


# ---------------------------------------------------------------- results


def report(route: str, runs: Sequence[tuple[Plan, Result]]) -> None:
    """Print everything about one run; a table of several."""
    plan = runs[0][0]
    several = len(runs) > 1
    how = "" if several else f"{named(plan)}, "
    connections = "1 connection" if plan.connections == 1 else f"{plan.connections} connections"
    output.say(output.plain(f"{route} at {plan.target}: {how}{connections}, {runs[0][1].seconds:.3g} s measured"))
    output.say()
    first = "callers" if plan.rate is None else "rate"
    columns = (first, "answers/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms", "failed")
    output.table(columns, [_row(one, result) for one, result in runs], right=columns)
    results = [result for _, result in runs]
    _report_served(results)
    _report_errors(results)
    if not several:
        _draw(results[0].latency)


def _row(plan: Plan, result: Result) -> tuple[str, ...]:
    step = str(plan.concurrency) if plan.rate is None else output.number(plan.rate)
    latencies = (_ms(result.latency.percentile(percent)) for percent in _PERCENTILES)
    return (step, _throughput(result.throughput), *latencies, f"{result.failed:,}")


def _report_served(results: Sequence[Result]) -> None:
    served: Counter[Answerer] = sum((result.served for result in results), Counter())
    if not served:
        return
    total, answers = served.total(), sum(result.codes["OK"] for result in results)
    output.say()
    # Of several runs there is no one latency: each step of a ladder has its own.
    latencies = results[0].latencies if len(results) == 1 else {}
    rows = [
        (one.target, one.model, one.version, output.percent(round(count / total, 3)), *_both(latencies.get(one)))
        for one, count in served.most_common()
    ]
    columns = ("target", "model", "version", "share", "p50 ms", "p99 ms")
    output.table(columns, rows, right=columns[2:])
    if total < answers:
        output.say(f"Shares are of {total:,} answers, drawn at random from {answers:,}.")


def _report_errors(results: Sequence[Result]) -> None:
    codes: Counter[str] = sum((result.codes for result in results), Counter())
    messages = {code: text for result in reversed(results) for code, text in result.messages.items()}
    failures = [(code, count, messages.get(code, "")) for code, count in codes.most_common() if code != "OK"]
    unanswered = sum(result.unanswered for result in results)
    if unanswered:
        failures.append(("-", unanswered, "not answered by the end"))
    if failures:
        output.say()
        rows = [(code, f"{count:,}", output.one_line(message)) for code, count, message in failures]
        output.table(("code", "calls", "detail"), rows, right=("calls",))


def _draw(latency: Histogram) -> None:
    buckets = latency.buckets()
    if not buckets:
        return
    output.say()
    most = max(bucket.count for bucket in buckets)
    edges = [_ms(bucket.high) for bucket in buckets]
    width = max(len("up to ms"), *map(len, edges))
    count_width = max(len(f"{most:,}"), len("answers"))
    output.say(f"{'up to ms':>{width}}  {'answers':>{count_width}}")
    for edge, bucket in zip(edges, buckets, strict=True):
        output.say(f"{edge:>{width}}  {bucket.count:>{count_width},}  {_bar(bucket.count, most)}".rstrip())


def _both(latency: Histogram | None) -> tuple[str, str]:
    if latency is None:
        return "", ""
    return _ms(latency.percentile(50.0)), _ms(latency.percentile(99.0))


def _shares(served: Counter[Answerer]) -> list[tuple[str, float]]:
    total = served.total()
    return [
        (" ".join(filter(None, (one.target, f"({one.model} {one.version})"))), count / total)
        for one, count in served.most_common(8)
    ]


def _bar(value: float, most: float) -> str:
    """Return a bar for *value*, at least a thin one if it is not 0."""
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        return "#" * max(round(value / most * _BAR), value > 0)
    eighths = max(round(value / most * _BAR * 8), value > 0)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _ms(seconds: float) -> str:
    """Return seconds as milliseconds with three digits or so; empty for NaN."""
    ms = seconds * 1e3
    if isnan(ms):
        return ""
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:,.0f}"


def _throughput(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
