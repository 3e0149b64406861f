"""Copies are judged beside the request that they copy, and beside no other."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from tests.journal.journals import BOOT, OTHER_BOOT, row, write_segment
from turnout_server.journal.shadow_report import Mirror, shadow_report


def copy(seq: int, of: int, **values: object) -> dict[str, object]:
    measures = {f"shadow_{name}": values.pop(name) for name in tuple(values) if name in MEASURES}
    return row(seq, copy_of=of, served=None, version=2, request_id=f"r-{of}", **values, **measures)


MEASURES = ("overlap", "tau", "top1", "delta", "delta_most", "absolute", "relative", "nans", "note")


def only(journal: Path, **options: object) -> Mirror:
    (mirror,) = shadow_report(journal, "price", **options).mirrors
    return mirror


def test_a_copy_is_paired_by_instance_boot_and_number_though_ids_repeat(tmp_path: Path) -> None:
    write_segment(tmp_path, [row(0, took_us=10, request_id="same"), copy(1, 0, took_us=30, delta=0.0)])
    write_segment(tmp_path, [row(0, took_us=500, request_id="same", code="QUEUE_FULL")], boot=OTHER_BOOT)
    found = only(tmp_path)
    assert (found.copies, found.pairs, found.compared) == (1, 1, 1)
    assert found.figures["original_took_us_p50"] == 10
    assert found.figures["took_us_p50_difference"] == 20
    assert found.figures["original_error_rate"] == 0


def test_a_copy_whose_original_is_not_there_is_no_pair(tmp_path: Path) -> None:
    write_segment(tmp_path, [row(0), copy(1, 0, delta=0.0), copy(2, 99, delta=0.0)])
    found = only(tmp_path)
    assert (found.copies, found.pairs) == (2, 1)


def test_original_and_copy_may_stand_in_different_segments(tmp_path: Path) -> None:
    write_segment(tmp_path, [row(0)])
    write_segment(tmp_path, [copy(1, 0, delta=0.0)], n=1, folder="date=2026-11-28/hour=07")
    assert only(tmp_path).pairs == 1


def test_what_was_not_compared_is_counted_by_cause(tmp_path: Path) -> None:
    write_segment(
        tmp_path,
        [
            row(0),
            row(1, code="QUEUE_FULL"),
            copy(2, 0, note="busy"),
            copy(3, 0, note="busy"),
            copy(4, 0, code="MODEL_FAILED"),
            copy(5, 1),
            copy(6, 0, note="unlike"),
            copy(7, 0, note="unlike", absolute=1.0),
            copy(8, 0, note='{"note":"unlike","original":{},"copy":{}}', absolute=1.0),
        ],
    )
    found = only(tmp_path)
    assert found.not_compared == {"busy": 2, "copy MODEL_FAILED": 1, "original QUEUE_FULL": 1, "unlike": 1}
    assert (found.pairs, found.compared, found.unlike) == (7, 2, 2)
    assert found.compared + sum(found.not_compared.values()) == found.copies
    assert found.figures["error_rate"] == pytest.approx(1 / 7)
    assert found.figures["error_rate_difference"] == 0


def test_prices_have_mean_quantiles_and_the_share_over_the_threshold(tmp_path: Path) -> None:
    deltas = [0.0, 0.05, -0.2, 0.3, float("nan")]
    pairs = [
        each
        for index, delta in enumerate(deltas)
        for each in (row(2 * index), copy(2 * index + 1, 2 * index, delta=delta, delta_most=abs(delta)))
    ]
    write_segment(tmp_path, pairs)
    figures = only(tmp_path, threshold=0.1).figures
    assert figures["delta_mean"] == pytest.approx(0.15 / 4)
    assert (figures["delta_p50"], figures["delta_p95"], figures["delta_most"]) == (0.0, 0.3, 0.3)
    assert figures["share_over_threshold"] == 3 / 5
    assert only(tmp_path, threshold=0.25).figures["share_over_threshold"] == 2 / 5
    assert figures["overlap_mean"] is None


def test_lists_have_overlap_tau_and_agreement_on_the_first(tmp_path: Path) -> None:
    write_segment(
        tmp_path, [row(0), copy(1, 0, overlap=1.0, tau=1.0, top1=True), copy(2, 0, overlap=0.5, tau=0.0, top1=False)]
    )
    figures = only(tmp_path).figures
    assert (figures["overlap_mean"], figures["tau_mean"], figures["top1_agreement"]) == (0.75, 0.5, 0.5)


def test_the_worst_pairs_come_first_and_carry_their_answers(tmp_path: Path) -> None:
    note = json.dumps({"original": {"price": 1}, "copy": {"price": 2}})
    copies = [copy(10 + index, index, delta=index / 100, delta_most=index / 100) for index in range(10)]
    copies += [copy(21, 0, delta=1.0, delta_most=1.0, note=note), copy(22, 1, nans=1, absolute=0.0), copy(23, 2)]
    write_segment(tmp_path, [*map(row, range(10)), *copies])
    worst = only(tmp_path).worst
    assert [each.seq for each in worst] == [22, 21, 19, 18, 17, 16, 15, 14, 13, 12]
    assert worst[1].answers == {"original": {"price": 1}, "copy": {"price": 2}}
    assert worst[1].request_id == "r-0"
    assert worst[1].measures == {"delta": 1.0, "delta_most": 1.0}


def test_mirrors_stand_apart_by_version_and_other_routes_and_times_do_not_count(tmp_path: Path) -> None:
    later = "2026-11-28 07:00:00+00"
    write_segment(
        tmp_path,
        [
            row(0),
            copy(1, 0, delta=0.0),
            copy(2, 0, delta=0.0, ts=later),
            {**copy(3, 0, delta=0.0, ts=later), "version": 3},
            copy(4, 0, delta=0.0, route="other"),
        ],
    )
    assert [(each.version, each.copies) for each in shadow_report(tmp_path, "price").mirrors] == [(2, 2), (3, 1)]
    since = datetime.datetime(2026, 11, 28, 6, 30, tzinfo=datetime.UTC)
    found = shadow_report(tmp_path, "price", since=since).mirrors
    # The originals came before that time, and are found all the same.
    assert [(each.version, each.copies, each.pairs) for each in found] == [(2, 1, 1), (3, 1, 1)]
    assert shadow_report(tmp_path, "nope").mirrors == ()


def test_boots_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    write_segment(tmp_path, [row(5)], boot=BOOT)
    write_segment(tmp_path, [copy(6, 5, delta=0.0)], boot=OTHER_BOOT)
    assert only(tmp_path).pairs == 0
