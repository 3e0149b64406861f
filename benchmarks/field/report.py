"""The results as Markdown and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from benchmarks.field.results import (
    OURS,
    Cell,
    Contest,
    Sample,
    Spread,
    cells,
    compared,
    geometric_mean,
    ratios,
    spread,
    summaries,
)
from benchmarks.field.targets import Verdict, verdicts
from benchmarks.text import listed, table

TITLES: Mapping[str, str] = {
    "turnout": "Turnout",
    "portable": "Turnout without the engine",
    "journal": "Turnout with a journal",
    "traced-1": "Turnout, 1 % of calls traced",
    "traced": "Turnout, all calls traced",
    "one-shard": "Turnout on one core",
    "two-shards": "Turnout on two cores",
    "floor": "the floor",
    "onnxruntime": "ONNX Runtime by itself",
    "triton": "Triton",
    "mlserver": "MLServer",
    "kserve": "KServe",
}
_RIVALS = ("portable", "floor", "triton", "mlserver", "kserve")
"""Whom Turnout is set beside in tables of their own. The others are Turnout itself, or no server."""
_UNITS = {"throughput": "throughput", "p99": "p99", "server_cpu": "server CPU a call"}
_BOUND = "†"


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one server beside its measurements."""

    version: str
    variant: str
    settings: str
    answers_checked: int
    """How many answers were compared with the graph's own, before anything was measured."""
    idle_cpu: float
    """Cores that it used without any load."""
    peak_rss: int
    """Bytes, at the end; see `Running.peak_rss`."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One whole comparison."""

    machine: dict[str, str]
    titles: dict[str, str]
    """Of the scenarios."""
    rounds: int
    seconds: float
    warmup_s: float
    generator: str
    """Which one, in words."""
    checked: bool
    """Whether it looked into every answer."""
    complete: bool
    """Whether all rounds were run."""
    servers: dict[str, ServerFacts]
    trials: dict[str, dict[str, tuple[float, ...]]]
    """By server that can be run in several ways, and by way: its throughputs in the trial."""
    samples: tuple[Sample, ...]


def as_json(run: Run) -> bytes:
    """Return everything, each sample included, and the medians and ratios that the tables have."""
    names = ("throughput", "p50", "p95", "p99", "server_cpu", "generator_cpu")
    document = msgspec.to_builtins(run) | {
        "medians": {name: _named(summaries(run.samples, name)) for name in names},
        "ratios": {
            rival: {name: _by_cell(ratios(run.samples, name, rival)) for name in _UNITS}
            for rival in run.servers
            if rival != OURS
        },
        "targets": [
            msgspec.to_builtins(one.target._asdict()) | {"cell": _key(one.cell), "met": one.met} | one.found._asdict()
            for one in verdicts(run.samples)
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _named(summary: Mapping[Cell, Mapping[str, Spread]]) -> dict[str, Any]:
    return {_key(cell): {name: found._asdict() for name, found in by.items()} for cell, by in summary.items()}


def _by_cell(found: Mapping[Cell, Spread]) -> dict[str, Any]:
    return {_key(cell): one._asdict() for cell, one in found.items()}


def _key(cell: Cell) -> str:
    return f"{cell.scenario}/{cell.concurrency}"


# ---------------------------------------------------------------- Markdown


def as_markdown(run: Run) -> str:
    """Return the report."""
    parts = [
        "# Turnout and the field",
        _introduction(run),
        "## Targets",
        "The median of what the rounds found, each by itself (lowest to highest).",
        targets(run),
        "## Server CPU a call",
        "Of all of the server's processes and threads, in µs; in brackets as a share of the floor's.",
        _by_server(run, "server_cpu", 1e6, "{:.0f}", beside="floor"),
        "## p99",
        "In ms.",
        _by_server(run, "p99", 1e3, "{:.2f}"),
        "## Ratios",
        "Turnout's figure over the rival's, the median of the rounds' ratios (lowest to highest). Above 1 is better "
        "for throughput, below 1 for the others.",
        *(_ratio_table(run, rival) for rival in run.servers if rival in _RIVALS),
        "## Figures",
        "Medians over the rounds; for throughput with the lowest and highest. "
        f"{_BOUND}: the load generator used up its core in some round, so the server might have done more.",
        *(part for scenario in _scenarios(run) for part in (f"### {run.titles[scenario]}", _figures(run, scenario))),
        "## Memory and idle CPU",
        _memory(run),
        "## Settings",
        _settings(run),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(run: Run) -> str:
    others = spread(sample.measured.others_cpu for sample in run.samples)
    text = (
        "The same ONNX files behind each server, over `inference.GRPCInferenceService/ModelInfer` with raw contents, "
        f"the same bytes for all; typed calls ask Turnout alone. {_correct(run)}\n\n"
        f"Rounds: {run.rounds}, each measurement {run.seconds:g} s after {run.warmup_s:g} s of warm-up; within a round "
        "the servers take turns at being first. One closed-loop load generator "
        f"{run.generator}, on the same machine.\n\n{listed(run.machine)}. Everything else on the machine used "
        f"{others.median:.2f} cores meanwhile (median; {others.low:.2f} to {others.high:.2f})."
    )
    return text if run.complete else f"{text}\n\n**Broken off before all rounds were run.**"


def _correct(run: Run) -> str:
    failed = sum(sample.measured.errors for sample in run.samples)
    if failed:
        return f"**{failed} calls failed, or were answered wrongly: see the errors.**"
    return "No call failed, and every answer was as it should be." if run.checked else "No call failed."


def targets(run: Run) -> str:
    """Return what is aimed at and what was found, as a table."""
    found = verdicts(run.samples)
    if not found:
        return "Nothing was measured that there is a target for."
    return table(["what", "scenario", "calls at once", "found", "target", ""], map(_verdict, found))


def _verdict(verdict: Verdict) -> list[str]:
    contest = verdict.target.contest
    sign, unit, form = (" - ", " µs", "{:.1f}") if contest.difference else (" / ", "", "{:.3f}")
    rival = f"itself in {contest.beside}" if contest.beside else TITLES[contest.rival]
    found = verdict.found._make(value * (1e6 if contest.difference else 1.0) for value in verdict.found)
    bound = verdict.target.most if verdict.target.least is None else verdict.target.least
    bound = (bound or 0.0) * (1e6 if contest.difference else 1.0)
    return [
        f"{_UNITS[contest.figure]}: {TITLES[contest.server]}{sign}{rival}",
        verdict.cell.scenario,
        str(verdict.cell.concurrency),
        f"**{form.format(found.median)}**{unit} ({form.format(found.low)} to {form.format(found.high)})",
        f"{'at most' if verdict.target.least is None else 'at least'} {bound:g}{unit}",
        "met" if verdict.met else "missed",
    ]


def _by_server(run: Run, figure: str, scale: float, form: str, beside: str = "") -> str:
    """Return the medians, a column a server; in brackets with what they are of the server's *beside*."""
    shares = {name: compared(run.samples, Contest(figure, name, beside)) for name in run.servers if name != beside}
    rows = []
    for cell, by in summaries(run.samples, figure).items():
        row = [cell.scenario, str(cell.concurrency)]
        for name in run.servers:
            share = shares.get(name, {}).get(cell)
            text = form.format(by[name].median * scale) if name in by else ""
            row.append(f"{text} ({share.median:.3f})" if share else text)
        rows.append(row)
    return table(["scenario", "calls at once", *(TITLES[name] for name in run.servers)], rows)


def _ratio_table(run: Run, rival: str) -> str:
    found = {name: ratios(run.samples, name, rival) for name in _UNITS}
    rows = [
        [cell.scenario, str(cell.concurrency), *(_ratio(by_cell.get(cell)) for by_cell in found.values())]
        for cell in cells(run.samples)
        if any(cell in by_cell for by_cell in found.values())
    ]
    return f"Against {TITLES[rival]}:\n\n" + table(["scenario", "calls at once", *_UNITS.values()], rows)


def _ratio(found: Spread | None) -> str:
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})" if found else ""


def _figures(run: Run, scenario: str) -> str:
    samples = [sample for sample in run.samples if sample.scenario == scenario]
    found = {
        name: summaries(samples, name) for name in ("throughput", "p50", "p95", "p99", "server_cpu", "generator_cpu")
    }
    rows = []
    for cell in cells(samples):
        for server in run.servers:
            own = [one for one in samples if one.server == server and one.concurrency == cell.concurrency]
            if not own:
                continue
            figures = {name: summary[cell][server] for name, summary in found.items()}
            rate = figures["throughput"]
            bound = f" {_BOUND}" if any(one.measured.generator_bound for one in own) else ""
            rows.append(
                [
                    str(cell.concurrency),
                    TITLES[server],
                    f"{rate.median:.0f} ({rate.low:.0f} to {rate.high:.0f}){bound}",
                    *(f"{figures[name].median * 1e3:.2f}" for name in ("p50", "p95", "p99")),
                    *(f"{figures[name].median * 1e6:.0f}" for name in ("server_cpu", "generator_cpu")),
                    str(sum(one.measured.errors for one in own)),
                ]
            )
    heads = ["calls at once", "server", "answers/s", "p50 ms", "p95 ms", "p99 ms"]
    return table([*heads, "server CPU µs/call", "generator CPU µs/call", "errors"], rows)


def _memory(run: Run) -> str:
    rows = [
        [TITLES[name], f"{facts.peak_rss / 2**20:.0f}", f"{facts.idle_cpu * 100:.1f}"]
        for name, facts in run.servers.items()
    ]
    return table(["server", "peak RSS MiB", "CPU % without load"], rows)


def _settings(run: Run) -> str:
    lines = [
        f"- {TITLES[name]} {facts.version}: {facts.settings}. {facts.answers_checked} answers were compared with the "
        "graph's own first."
        for name, facts in run.servers.items()
    ]
    for server, trial in run.trials.items():
        found = ", ".join(f"{name} {geometric_mean(rates):.0f}/s" for name, rates in trial.items())
        lines.append(
            f"- {TITLES[server]} can be run in several ways. A trial of all scenarios, with the fewest calls at "
            f"once and with the most, chose {run.servers[server].variant}. Geometric means: {found}."
        )
    lines.append(
        "- Sessions have one thread, no spinning, no arena and no memory patterns everywhere: Turnout's defaults."
    )
    return "\n".join(lines)


def _scenarios(run: Run) -> list[str]:
    return list(dict.fromkeys(sample.scenario for sample in run.samples))
