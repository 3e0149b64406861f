"""Histograms, and the names that metrics have."""

from __future__ import annotations

from turnout_server.instruments import families
from turnout_server.instruments.families import Buckets, Histogram


def test_a_buckets_upper_bound_belongs_to_it() -> None:
    counted = Histogram((10, 20))
    for value in (0, 10, 11, 20, 21):
        counted.add(value)
    assert counted.read() == Buckets((10, 20), (2, 2, 1), 62)
    assert counted.read(scale=10) == Buckets((1.0, 2.0), (2, 2, 1), 6.2)


def test_prometheus_has_the_unit_in_a_histograms_name() -> None:
    made = [families.histogram("turnout.run.duration", unit, "", (), ()).prometheus for unit in ("s", "{row}")]
    assert made == ["turnout_run_duration_seconds", "turnout_run_duration"]
    assert families.counter("turnout.a.b", "{x}", "", (), ()).prometheus == "turnout_a_b"
