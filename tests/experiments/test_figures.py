"""Every plot has its numbers beside it, whatever is missing is said, and what is left out is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.experiments import found
from tests.experiments.test_markup import read
from turnout_server.experiments import figures
from turnout_server.experiments.findings import EpochEffect, EpochSplit, Findings, Novelty

ALL = [figures.effects, figures.sequence, figures.days, figures.epochs, figures.novelty]


def of(*comparisons: found.Comparison) -> Findings:
    return found.findings(comparisons=comparisons)


@pytest.mark.parametrize("figure", ALL, ids=lambda figure: figure.__name__)
def test_every_plot_has_its_table_beside_it(figure: Callable[[Findings], str]) -> None:
    tags = [
        tag
        for tag, attributes in read(figure(found.findings())).tags
        if tag == "table" or attributes.get("role") == "img"
    ]
    assert "svg" in tags
    assert tags[-1] == "table"


def test_every_metric_is_there_with_its_interval_and_what_it_decides() -> None:
    words = read(figures.effects(of(found.comparison(), found.guardrail(), found.exploratory(better="down")))).words
    assert "+16.6% to +65.3%" in words
    assert "primary, proportion, more is better, margin 2%" in words
    assert "revenue (guardrail)" in words
    assert "aov ↓ (exploratory)" in words
    assert "exploratory, ratio, less is better" in words
    words = read(figures.effects(of(found.comparison(), found.exploratory(added=found.START)))).words
    assert "aov (exploratory, added)" in words
    assert "exploratory, ratio, more is better, added 2026-10-01 00:00 UTC, after the start" in words


def test_a_long_name_makes_room_for_itself_and_not_at_a_short_ones_cost() -> None:
    label = figures.row(found.exploratory("m" * 63, "bold"), several=True).label
    assert label.endswith("m · bold (exploratory)")
    assert len(label) == 46


def test_the_margin_is_on_the_side_that_is_worse() -> None:
    up, down = (figures.row(found.guardrail(better=better)).harm for better in ("up", "down"))
    assert (up, down) == (-0.02, 0.02)


def test_what_only_explores_has_no_margin() -> None:
    assert figures.row(found.exploratory()).harm is None


def test_where_nothing_is_relative_the_difference_is_in_the_metrics_own_unit() -> None:
    each = found.guardrail(relative=found.NOTHING, control=found.Arm("champion", 10, 5.0))
    page = figures.effects(of(found.comparison(), each))
    assert "in the metric's own unit" in page
    assert "+0.0089 to +0.0292" in page
    assert figures.row(each).harm == pytest.approx(-0.1)


def test_silence_has_its_reason_and_no_interval() -> None:
    words = read(figures.effects(of(found.silent(found.comparison())))).words
    assert "silent: an arm has 3.0 effective events; 10 are needed" in words
    assert "nothing is said" in words
    assert figures.row(found.silent(found.comparison())).low is None


def test_an_interval_without_ends_is_any_value() -> None:
    assert "any value" in figures.effects(of(found.endless(found.comparison())))


def test_a_fixed_analysis_has_no_sequence_and_says_why() -> None:
    assert "made once" in figures.sequence(found.findings(sequence=(), method="fixed"))


def test_days_that_are_silent_are_shown_as_unknown() -> None:
    assert "2026-10-01<td>2,000<td>unknown<td>unknown" in figures.sequence(found.findings())


def test_units_are_counted_up_to_each_day() -> None:
    page = figures.days(found.findings(soundness=found.soundness(days=3)))
    assert "2026-10-03<td>3,000<td>3,003<td>0.64" in page


def test_a_split_that_nothing_checks_is_called_so() -> None:
    split = EpochSplit("", found.START, found.START, ("champion", "challenger"), None, (7, 9), None)
    words = read(figures.splits(found.findings(soundness=found.soundness(epochs=(split,))))).words
    assert "(no epoch)" in words
    assert "champion 7 (due unknown); challenger 9 (due unknown)" in words
    assert "not checked" in words


def test_epochs_that_disagree_are_seen_side_by_side() -> None:
    effects = (EpochEffect("e1", 900, 100, 0.10, 0.11), EpochEffect("e2", 500, 500, 0.02, 0.019))
    words = read(figures.epochs(of(found.comparison(epochs=effects)))).words
    assert "+10.0%" in words
    assert "-5.00%" in words


def test_an_epoch_without_a_treatment_is_no_number() -> None:
    words = read(figures.epochs(of(found.comparison(epochs=(EpochEffect("e1", 900, 0, 0.1, None),))))).words
    assert "unknown" in words
    assert "nothing is said" in words


def test_later_units_that_are_not_there_yet_are_unknown() -> None:
    assert "+40.0%<td>unknown" in figures.novelty(found.findings(novelty=(Novelty("challenger", 0.4, None),)))


def test_what_a_covariate_leaves_is_worth_units() -> None:
    assert "25.0%<td>4 times the units" in figures.covariates(found.findings())
    assert "No metric" in figures.covariates(of(found.comparison()))


def test_an_experiment_that_nobody_entered_has_words_in_place_of_plots() -> None:
    empty = found.findings(
        comparisons=(found.silent(found.comparison(epochs=())),),
        soundness=found.soundness(days=0, epochs=()),
        sequence=(),
        novelty=(),
    )
    assert "No unit counts yet" in figures.sequence(empty)
    assert "No unit was exposed" in figures.days(empty)
    assert "No epoch compares yet" in figures.epochs(empty)
    assert "Nothing is known yet" in figures.novelty(empty)


def test_what_is_left_out_is_counted() -> None:
    large = found.largest(metrics=100, treatments=6, days=366, epochs=50)
    assert "100 comparisons are left out here" in figures.effects(large)
    assert "183 days are left out here" in figures.sequence(large)
    assert "100 epochs are left out here" in figures.epochs(large)


def test_a_year_of_one_treatment_is_shown_day_by_day() -> None:
    assert "left out" not in figures.sequence(found.findings(sequence=found.sequence(days=366)))


def test_days_that_are_shown_are_equally_far_apart_and_the_last_is_there() -> None:
    assert figures.thinned(range(10), 4) == range(0, 10, 3)
    assert list(figures.thinned(range(11), 4)) == [1, 4, 7, 10]
    assert figures.thinned(range(3), 4) == range(3)


def test_a_plot_is_not_higher_than_a_sheet_of_paper() -> None:
    page = figures.effects(found.largest(metrics=20, treatments=5, days=2, epochs=1))
    heights = [int(attributes["height"] or 0) for tag, attributes in read(page).tags if tag == "svg"]
    assert len(heights) > 2
    assert max(heights) < 600
