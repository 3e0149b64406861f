"""The results as Markdown and as JSON. Pure."""

from __future__ import annotations

import math

import msgspec

from benchmarks.overload.results import Level, Verdict, copies_verdict, costs, medians, verdicts
from benchmarks.text import listed, table

_BOUND = "†"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured."""

    machine: dict[str, str]
    titles: dict[str, str]
    """Of the series."""
    settings: tuple[str, ...]
    """Of the server, where they are not the defaults."""
    rounds: int
    seconds: float
    complete: bool
    """Whether all rounds were run."""
    capacities: dict[str, float]
    """Answers a second, by series."""
    neighbour_rate: float
    """Calls a second."""
    levels: tuple[Level, ...]


def series_of(run: Run) -> list[str]:
    """Return the series that were measured, in the order of their titles."""
    measured = {one.series for one in run.levels}
    return [series for series in run.titles if series in measured]


def line(one: Level, rounds: int) -> str:
    """Return a level in one line."""
    beside = f"  neighbour p99 {_ms(one.neighbour.p99)} ms" if one.neighbour else ""
    return (
        f"round {one.round + 1}/{rounds}  {one.series:<8} {one.factor:>4g}x  offered {one.offered:>6.0f}/s  "
        f"goodput {one.goodput:>6.0f}/s  refused {one.refused:>6.0f}/s  p99 {_ms(one.latency.p99):>7} ms{beside}"
        + ("  generator late" if one.generator_bound else "")
    )


def as_json(run: Run) -> bytes:
    """Return everything, each level included, and what the tables have."""
    document = msgspec.to_builtins(run) | {
        "medians": {
            series: {f"{x:g}": found for x, found in medians(run.levels, series).items()} for series in series_of(run)
        },
        "costs_s": {series: found._asdict() for series in series_of(run) if (found := costs(run.levels, series))},
        "verdicts": {series: [one._asdict() for one in verdicts(run.levels, series)] for series in series_of(run)},
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def as_markdown(run: Run) -> str:
    """Return the report."""
    parts = ["# Overload", _introduction(run)]
    for series in series_of(run):
        parts += [f"## {run.titles[series]}", *_of_series(run, series)]
    return "\n\n".join(parts) + "\n"


def _introduction(run: Run) -> str:
    settings = f"settings {', '.join(run.settings)}" if run.settings else "as installed"
    text = (
        f"One Turnout, {settings}. Callers come at random (Poisson) whether or not earlier calls were answered, on "
        "several connections; latency counts from when a call was due. Where the server holds calls back rather than "
        "refuse them, as HTTP/2 lets it, they wait in the generator for room on a connection: latency includes that, "
        "`p99 since sent` does not, and what never got room is `unanswered`. The load is given in capacities: the most "
        "that callers get who wait for each answer. Beside it a neighbour, another model, is asked "
        f"{run.neighbour_rate:g} times a second. Rounds: {run.rounds}, each load {run.seconds:g} s after a warm-up; "
        "figures are medians over the rounds. The generators share the machine with the server. "
        f"{_BOUND}: in some round a generator had no time left, or was held up, so the figures are its own too.\n\n"
        f"{listed(run.machine)}."
    )
    return text if run.complete else f"{text}\n\n**Broken off before all rounds were run.**"


def _of_series(run: Run, series: str) -> list[str]:
    parts = []
    if series in run.capacities:
        parts.append(f"Capacity: {run.capacities[series]:.0f} answers/s.")
    judged = verdicts(run.levels, series)
    if (copied := copies_verdict([one for one in run.levels if one.series == series])) is not None:
        judged.append(copied)
    if judged:
        parts.append("\n".join(map(_verdict, judged)))
    found = costs(run.levels, series)
    if found is not None:
        refused = "too little was refused to tell" if math.isnan(found.refused) else f"{found.refused * 1e6:.0f} µs"
        parts.append(
            "CPU of the event loops, the engine's shards included, which do all but dear runs: "
            f"{found.accepted * 1e6:.0f} µs an accepted call, a refused one {refused}."
        )
    parts.append(_levels(run, series))
    if copies := _copies(run, series):
        parts.append(copies)
    return parts


def _verdict(verdict: Verdict) -> str:
    return f"- {'met' if verdict.met else '**missed**'}: {verdict.target}; found {verdict.found}"


def _levels(run: Run, series: str) -> str:
    rows = []
    for factor, figures in medians(run.levels, series).items():
        own = [one for one in run.levels if one.series == series and one.factor == factor]
        bound = f" {_BOUND}" if any(one.generator_bound for one in own) else ""
        rates = (f"{figures[name]:.0f}" for name in ("offered", "goodput", "refused"))
        times = (_ms(figures[name]) for name in ("p50", "p95", "p99", "under_way", "neighbour p50", "neighbour p99"))
        cores = (f"{figures[name]:.2f}" for name in ("server_cpu", "loop_cpu", "generator_cpu"))
        unanswered = sum(one.unanswered for one in own)
        rows.append([f"{factor:g}x{bound}", *rates, str(unanswered), *times, *cores])
    heads = [
        "load",
        "offered/s",
        "answered/s",
        "refused/s",
        "unanswered",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "p99 since sent ms",
    ]
    heads += ["neighbour p50 ms", "neighbour p99 ms", "server cores", "of them event loops", "generator cores"]
    return table(heads, rows)


def _copies(run: Run, series: str) -> str:
    rows = []
    for factor in medians(run.levels, series):
        own = [one.copies for one in run.levels if one.series == series and one.factor == factor]
        counts = [sum(getattr(one, name) for one in own) for name in ("sent", "dropped", "failed")]
        if any(counts):
            rows.append([f"{factor:g}x", *map(str, counts)])
    return table(["load", "copies sent", "dropped", "failed"], rows) if rows else ""


def _ms(seconds: float) -> str:
    return "" if math.isnan(seconds) else f"{seconds * 1e3:.2f}"
