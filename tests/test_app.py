"""What the composition root decides by itself; the rest is seen in `tests/e2e`."""

from __future__ import annotations

import os

import pytest

from turnout_server.app import rules_of, usable_cores
from turnout_server.config import SchedulingConfig
from turnout_server.scheduling.batcher import Rules
from turnout_server.store.manifest import Batching


@pytest.mark.parametrize(
    ("batching", "rules"),
    [
        (Batching(), Rules(32, 0.001, 150_000.0, 3)),
        (Batching(max_rows=8), Rules(8, 0.001, 150_000.0, 3)),
        (Batching(max_delay_us=0), Rules(32, 0.0, 150_000.0, 3)),
    ],
)
def test_a_versions_manifest_wins_over_the_configuration(batching: Batching, rules: Rules) -> None:
    scheduling = SchedulingConfig(max_batch_rows=32, max_batch_delay_us=1000, inline_below_us=150)
    assert rules_of(batching, scheduling, 3) == rules


def test_a_containers_cores_count_and_not_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5}, raising=False)
    assert usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 64
