"""What is measured beside what. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.field.results import Cell

OPTIONAL = ("mlserver", "kserve", "triton")
"""Servers that take part only where somebody asks for them."""


class Study(NamedTuple):
    """One question."""

    title: str
    scenarios: tuple[str, ...]
    servers: tuple[str, ...]
    concurrency: tuple[int, ...]
    """Calls at once."""


STUDIES: Mapping[str, Study] = {
    "row": Study(
        "what one row of a small model costs",
        ("mlp",),
        ("turnout", "portable", "floor", *OPTIONAL),
        (1, 16, 64),
    ),
    "beside": Study(
        "what a journal and traces add to that",
        ("mlp",),
        ("turnout", "journal", "traced-1", "traced"),
        (1, 16, 64),
    ),
    "rows": Study(
        "what 500 rows cost beside ONNX Runtime's own runs",
        ("wide",),
        ("turnout", "onnxruntime", "floor", *OPTIONAL),
        (16,),
    ),
    "rank": Study(
        "what typed calls cost beside the same matrix by ModelInfer",
        ("wide", "rank-columns", "rank-matrix"),
        ("turnout",),
        (16,),
    ),
    "shards": Study(
        "what a second shard costs and brings",
        ("mlp", "dear"),
        ("one-shard", "two-shards"),
        (16, 64),
    ),
    "field": Study(
        "several models beside other servers",
        ("mlp", "price", "ranking", "recommendation"),
        ("turnout", "floor", "mlserver", "kserve"),
        (1, 8, 32, 64),
    ),
}
DEFAULT = tuple(name for name in STUDIES if name != "field")
"""Point for point what the engine is held to; `field` has more models, and takes the longest."""
SCENARIOS = tuple(dict.fromkeys(name for study in STUDIES.values() for name in study.scenarios))

Plan = dict[Cell, tuple[str, ...]]
"""The servers that are measured in each cell."""


def plan(
    studies: Sequence[str],
    servers: Sequence[str],
    scenarios: Sequence[str] = SCENARIOS,
    concurrency: Sequence[int] = (),
) -> Plan:
    """Return what is to be measured, each thing once however many studies ask for it.

    Args:
        studies: by name.
        servers: who may take part.
        scenarios: which may.
        concurrency: calls at once, in place of the studies' own.
    """
    found: Plan = {}
    for study in (STUDIES[name] for name in studies):
        there = [name for name in study.servers if name in servers]
        for scenario in (name for name in study.scenarios if name in scenarios and there):
            for calls in concurrency or study.concurrency:
                cell = Cell(scenario, calls)
                found[cell] = tuple(dict.fromkeys((*found.get(cell, ()), *there)))
    return found


def without(plan: Plan, servers: Sequence[str]) -> Plan:
    """Return *plan* without *servers*, and without the cells that have nobody left."""
    left = {cell: tuple(name for name in there if name not in servers) for cell, there in plan.items()}
    return {cell: there for cell, there in left.items() if there}


def scenarios_of(plan: Plan, server: str = "") -> tuple[str, ...]:
    """Return the scenarios that are measured, of *server* or of anyone."""
    return tuple(dict.fromkeys(cell.scenario for cell, servers in plan.items() if server in ("", *servers)))


def servers_of(plan: Plan) -> tuple[str, ...]:
    """Return who takes part."""
    return tuple(dict.fromkeys(server for servers in plan.values() for server in servers))
