"""How often, how long, and by which batch size."""

from __future__ import annotations

from turnout_server.instruments.statistics import EXACT_ROWS, Duration, VersionStatistics


def test_durations_add_up() -> None:
    duration = Duration()
    duration.add(5)
    duration.add(7)
    assert (duration.count, duration.ns) == (2, 12)


def test_large_batches_share_the_counts_of_a_power_of_two() -> None:
    """So that a caller with many sizes cannot make as many series."""
    counts = VersionStatistics()
    for rows in (EXACT_ROWS, 129, 255, 256, 257, 4095):
        counts.of_batches(rows).compute_infer.add(1)
    assert {size: one.compute_infer.count for size, one in counts.batches.items()} == {128: 3, 256: 2, 2048: 1}
