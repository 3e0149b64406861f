"""What is counted is what the copies' records say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from turnout_server.instruments.families import Buckets
from turnout_server.instruments.shadow import COMPARED, MAX_SERIES, UNCOMPARED, ShadowInstruments
from turnout_server.telemetry.prometheus import registry
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.record import OK, Comparison, Record

DECISION = Decision("price", "", "price", 2, Reason.SPLIT)
SERIES = ("price", "price", 2)


def record(comparison: Comparison | None = None, **changed: Any) -> Record:
    copy = Record(8, 1, 2_000_000, OK, DECISION, "price", copy_of=7, comparison=comparison)
    return copy._replace(**changed)


def points(instruments: ShadowInstruments, name: str) -> dict[tuple[str | int, ...], int | Buckets]:
    family = next(family for family in instruments.families() if family.name == f"turnout.shadow.{name}")
    return dict(family.points)


def filled(*records: Record) -> ShadowInstruments:
    instruments = ShadowInstruments()
    for each in records:
        instruments.read(each)
    return instruments


def buckets(instruments: ShadowInstruments, name: str) -> tuple[dict[float, int], float]:
    """Return the counts above 0 by upper bound, and the sum."""
    found = points(instruments, name)[SERIES]
    assert isinstance(found, Buckets)
    bounds = (*found.bounds, float("inf"))
    return {bound: count for bound, count in zip(bounds, found.counts, strict=True) if count}, found.sum


@pytest.mark.parametrize(
    "other", [record(copy_of=-1), record(decision=None)], ids=["a request's own record", "no decision"]
)
def test_only_copies_with_a_decision_count(other: Record) -> None:
    assert not any(family.points for family in filled(other).families())


@pytest.mark.parametrize(
    ("copy", "outcome"),
    [
        (record(Comparison()), COMPARED),
        (record(), UNCOMPARED),
        (record(Comparison(note="busy")), "busy"),
        (record(Comparison(note="copy_failed"), code="QUEUE_FULL"), "QUEUE_FULL"),
        (record(Comparison(note=json.dumps({"original": {}, "copy": {}}))), COMPARED),
        (record(Comparison(note=json.dumps({"note": "unlike", "original": {}, "copy": {}}))), "unlike"),
    ],
)
def test_pairs_are_counted_by_outcome(copy: Record, outcome: str) -> None:
    assert points(filled(copy, copy), "pairs") == {(*SERIES, outcome): 2}


@pytest.mark.parametrize(
    ("comparison", "name", "bound", "total"),
    [
        (Comparison(overlap=0.75), "overlap", 0.8, 0.75),
        (Comparison(overlap=1.0), "overlap", 1.0, 1.0),
        (Comparison(tau=1.0), "discordance", 0.0, 0.0),
        (Comparison(tau=-0.5), "discordance", 0.8, 0.75),
        (Comparison(delta=-0.03), "delta", 0.05, 0.03),
        (Comparison(absolute=25.0), "absolute", 100.0, 25.0),
        (Comparison(relative=0.004), "relative", 0.005, 0.004),
        (Comparison(relative=float("inf")), "relative", float("inf"), 1e9),
    ],
)
def test_figures_fall_into_buckets(comparison: Comparison, name: str, bound: float, total: float) -> None:
    instruments = filled(record(comparison))
    counts, found = buckets(instruments, name)
    assert counts == {bound: 1}
    assert found == pytest.approx(total)
    others = {"overlap", "discordance", "delta", "absolute", "relative"} - {name}
    assert all(buckets(instruments, other) == ({}, 0) for other in others)


def test_first_items_and_nans_are_counted() -> None:
    instruments = filled(*(record(Comparison(top1=top1, nans=2)) for top1 in (True, False, True)))
    assert points(instruments, "top1") == {(*SERIES, "agree"): 2, (*SERIES, "disagree"): 1}
    assert points(instruments, "nans") == {SERIES: 6}
    assert points(filled(record(Comparison())), "top1") == {}


def test_durations_are_those_of_answered_copies() -> None:
    instruments = filled(record(), record(code="INTERNAL"))
    assert buckets(instruments, "duration") == ({0.0025: 1}, 0.002)


def test_series_silent_for_longest_are_forgotten() -> None:
    instruments = ShadowInstruments()
    for version in range(1, MAX_SERIES + 1):
        instruments.read(record(decision=DECISION._replace(version=version), arrived_ns=version))
    instruments.read(record(decision=DECISION._replace(version=1), arrived_ns=MAX_SERIES + 1))
    instruments.read(record(decision=DECISION._replace(version=MAX_SERIES + 1), arrived_ns=MAX_SERIES + 2))
    versions = {key[2] for key in points(instruments, "nans")}
    assert len(versions) == MAX_SERIES
    assert 2 not in versions
    assert 1 in versions


def test_prometheus_reads_them() -> None:
    text = generate_latest(registry(filled(record(Comparison(tau=0.0, overlap=0.5, top1=True))))).decode()
    samples = {
        sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples
    }
    assert samples["turnout_shadow_discordance_sum"] == 0.5
    assert samples["turnout_shadow_overlap_count"] == 1
    assert samples["turnout_shadow_pairs_total"] == 1
    assert "turnout_shadow_duration_seconds_count" in samples
