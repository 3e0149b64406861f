"""What is added after the start is kept for good, and changes nothing of what was fixed."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.experiments.worlds import DAY, START, experiment
from turnout_server.experiments.added import Added, AddedMetrics, joined, parse
from turnout_server.experiments.definition import InvalidExperimentError
from turnout_server.experiments.grants import ExperimentConflictError
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.vocabulary.errors import StoreError

BASKET = "basket: {kind: ratio, outcome: purchase, of: sum, denominator: {outcome: purchase}}"
TWO = "visits: {kind: mean, outcome: visit}\nclicks: {kind: mean, outcome: click, window: 2d}"
LATER = START + 3 * DAY


def added(text: str, before: tuple[Added, ...] = (), at: datetime = LATER) -> tuple[Added, ...]:
    return parse(text, experiment(), before, at, "ana")


@pytest.fixture
def metrics(tmp_path: Path) -> AddedMetrics:
    return AddedMetrics(DirectoryBlobs(tmp_path))


def test_what_is_added_is_secondary_and_nothing_else_changes() -> None:
    fixed = experiment()
    asked = joined(fixed, added(TWO))
    assert asked.roles == {**fixed.roles, "visits": "secondary", "clicks": "secondary"}
    assert {name: asked.metrics[name] for name in fixed.metrics} == fixed.metrics
    assert joined(fixed, ()) == fixed


def test_what_was_added_is_there_again_in_the_order_of_time(metrics: AddedMetrics) -> None:
    assert metrics.of("ranker") == ()
    later = added(BASKET, at=LATER + timedelta(hours=1))
    metrics.add("ranker", later)
    metrics.add("ranker", added(TWO))
    found = metrics.of("ranker")
    assert [(one.name, one.by) for one in found] == [("clicks", "ana"), ("visits", "ana"), ("basket", "ana")]
    assert found[-1:] == later
    assert metrics.of("another") == ()


def test_a_name_is_taken_once(metrics: AddedMetrics) -> None:
    metrics.add("ranker", added(BASKET))
    with pytest.raises(ExperimentConflictError, match="'basket' was added to experiment 'ranker' before"):
        metrics.add("ranker", added(BASKET))
    with pytest.raises(ExperimentConflictError, match="has a metric 'basket'"):
        added(BASKET, before=metrics.of("ranker"))
    with pytest.raises(ExperimentConflictError, match="has a metric 'conversion'"):
        added("conversion: {kind: proportion, outcome: visit}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", r"\$\.metrics: there are none"),
        ("[1]", r"\$\.metrics: expected a mapping"),
        ("a b: {kind: mean, outcome: x}", r"\$\.metrics\.a b: the name is not allowed"),
        ("a: {kind: mode, outcome: x}", r"\$\.metrics\.a\.kind"),
        ("a: {kind: ratio, outcome: x}", r"\$\.metrics\.a\.denominator: a ratio has one"),
        ("a: {kind: mean, outcome: x, window: 8d}", r"\$\.metrics\.a\.window: longer than all windows that were fixed"),
    ],
)
def test_what_cannot_be_added_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(InvalidExperimentError, match=told):
        added(text)


def test_what_was_changed_since_is_not_believed(metrics: AddedMetrics, tmp_path: Path) -> None:
    metrics.add("ranker", added(BASKET))
    file = tmp_path / "experiments/ranker/added/basket.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("2026-10-04", "2026-09-04"), encoding="utf-8")
    with pytest.raises(StoreError, match=r"added/basket\.json was changed"):
        metrics.of("ranker")
    file.write_text(text, encoding="utf-8")
    file.rename(file.with_name("other.json"))
    with pytest.raises(StoreError, match=r"added/other\.json is of a metric 'basket'"):
        metrics.of("ranker")
