"""What is printed fits 80 columns, and no number is made up where there is none."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run
from tests.experiments.worlds import World, halves


def test_where_nothing_is_known_a_dash_stands_and_the_reason_below(run: Run, tmp_path: Path) -> None:
    world = World(tmp_path / "journal")
    halves(world, map(str, range(40)))
    file = tmp_path / "ranker.yaml"
    file.write_text(
        "{name: ranker, route: ranking, control: old, treatments: [new], window: 7d, units: 1000, start: 2026-10-01,"
        " primary: conversion, metrics: {conversion: {kind: proportion, outcome: purchase}}}",
        encoding="utf-8",
    )
    said = run("experiment", "analyse", file, "-j", world.write(), "--as-of", "2026-11-01")
    assert said.code == 3
    assert "conversion: an arm has 0.0 effective events; 10 are needed" in said.out
    assert "None" not in said.out
    assert "nan" not in said.out
    assert all(len(line) <= 80 for line in said.out.splitlines())
