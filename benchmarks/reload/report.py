"""The results as Markdown and as JSON. Pure."""

from __future__ import annotations

import statistics

import msgspec

from benchmarks.reload.results import PHASES, SLOWER, Round, median, slower
from benchmarks.text import listed, table

_BOUND = "†"
_MS, _MIB = 1e3, 2**20


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured."""

    machine: dict[str, str]
    model_bytes: int
    """Of the large model's file."""
    neighbour: str
    """In words."""
    rate: float
    """Of the neighbour's calls, a second."""
    settings: tuple[str, ...]
    """Of the server, where they are not the defaults."""
    complete: bool
    rounds: tuple[Round, ...]


def line(one: Round, number: int) -> str:
    """Return a round in one line."""
    times = ", ".join(f"{name} {one.phases[name].p99 * _MS:.2f}" for name in PHASES)
    return f"round {number}: load {one.load_s:.2f} s, neighbour's p99 in ms: {times}"


def as_json(run: Run) -> bytes:
    """Return everything."""
    document = msgspec.to_builtins(run) | {"slower": slower(run.rounds)}
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def as_markdown(run: Run) -> str:
    """Return the report."""
    parts = ["# Reload", _introduction(run), _verdict(run), _phases(run), _costs(run)]
    return "\n\n".join(parts) + "\n"


def _introduction(run: Run) -> str:
    settings = f"settings {', '.join(run.settings)}" if run.settings else "as installed"
    text = (
        f"One Turnout, {settings}, serves a model of {run.model_bytes / 1e6:.0f} MB and a neighbour: {run.neighbour}. "
        f"The neighbour is asked {run.rate:g} times a second, at constant intervals, whether or not earlier calls were "
        "answered; latency counts from when a call was due. Meanwhile the large model gets a new version, which is "
        "verified, checked, optimised, and warmed up; then the old one is unloaded. "
        f"Rounds: {len(run.rounds)}. `publishing` is the publisher's own work, on the same machine; `during` is the "
        f"server's.\n\n{listed(run.machine)}."
    )
    return text if run.complete else f"{text}\n\n**Broken off before all rounds were run.**"


def _verdict(run: Run) -> str:
    found = slower(run.rounds)
    ratio = statistics.median(found)
    return (
        f"- {'met' if ratio <= SLOWER else '**missed**'}: the neighbour's p99 during a reload is at most {SLOWER:g} "
        f"times that before it; found {ratio:.2f} ({min(found):.2f} to {max(found):.2f})"
    )


def _phases(run: Run) -> str:
    rows = []
    for name in PHASES:
        phases = [one.phases[name] for one in run.rounds]
        times = (statistics.median(getattr(one, figure) for one in phases) * _MS for figure in ("p50", "p99", "max"))
        worst = max(one.max for one in phases) * _MS
        rows.append(
            [
                name,
                f"{statistics.median(one.seconds for one in phases):.2f}",
                *(f"{one:.2f}" for one in times),
                f"{worst:.2f}",
                str(sum(one.failed for one in phases)),
            ]
        )
    heads = ["phase", "seconds", "p50 ms", "p99 ms", "longest ms", "longest of all rounds ms", "failed"]
    bound = any(one.generator_bound for one in run.rounds)
    note = f"\n\n{_BOUND} The generator was held up in some round, so the figures are its own too." if bound else ""
    return "The neighbour's latency, medians over the rounds:\n\n" + table(heads, rows) + note


def _costs(run: Run) -> str:
    rounds = run.rounds
    rows = [
        ["until it serves, s", f"{median(rounds, lambda one: one.load_s):.2f}"],
        ["until the old one is gone, s", f"{median(rounds, lambda one: one.unload_s):.2f}"],
        ["CPU of the server, s", f"{median(rounds, lambda one: one.cpu_s):.2f}"],
        ["RSS before, MiB", f"{median(rounds, lambda one: one.rss_before) / _MIB:.0f}"],
        ["RSS at most, with children, MiB", f"{max(one.rss_peak for one in rounds) / _MIB:.0f}"],
        ["RSS after, MiB", f"{median(rounds, lambda one: one.rss_after) / _MIB:.0f}"],
        ["RSS after the last round, MiB", f"{rounds[-1].rss_after / _MIB:.0f}"],
    ]
    return "What a reload takes, medians over the rounds:\n\n" + table(["", ""], rows)
