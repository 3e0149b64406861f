"""Lost exposures are of the arm and of the time that footers say, and what none says is not made up."""

from __future__ import annotations

from turnout_server.journal.losses import BootLoss, Losses, Mark, between
from turnout_server.vocabulary.exposure import Arm

OLD, NEW = Arm("price", "", "old"), Arm("price", "", "new")
MARKS = (
    Mark(0, 9, 3, {OLD: 1}),
    Mark(10, 19, 5, {OLD: 2, NEW: 1}),
    Mark(20, 29, 9, {OLD: 2, NEW: 4}),
)
BOOT = BootLoss(MARKS, 9)


def test_all_of_a_boots_losses_are_those_of_its_last_segment() -> None:
    assert between([BOOT], 0, 100) == Losses({OLD: 2, NEW: 4}, 0)


def test_what_was_lost_until_the_last_segment_before_the_time_is_left_out() -> None:
    assert between([BOOT], 10, 100) == Losses({OLD: 1, NEW: 4}, 0)
    assert between([BOOT], 20, 100) == Losses({NEW: 3}, 0)
    assert between([BOOT], 15, 100) == Losses({OLD: 1, NEW: 4}, 0), "a segment that is partly in time counts whole"
    assert between([BOOT], 30, 100) == Losses({}, 0)


def test_segments_that_begin_too_late_are_left_out() -> None:
    assert between([BOOT], 0, 19) == Losses({OLD: 2, NEW: 1}, 0)
    assert between([BOOT], 10, 19) == Losses({OLD: 1, NEW: 1}, 0)
    assert between([BOOT], -9, 0) == Losses({}, 0)


def test_what_was_lost_around_the_end_of_the_time_is_not_left_out() -> None:
    full = BootLoss((Mark(100, 299, 0, {}), Mark(601, 700, 2000, {OLD: 2000})), 2000)
    assert between([full], 95, 500) == Losses({}, 2000), "a disk that was full from 300 to 600"
    assert between([full], 95, 299) == Losses({}, 0)
    assert between([BOOT], 0, 20) == Losses({OLD: 2, NEW: 1}, 4)


def test_a_closing_segment_without_records_is_of_the_time_before_it() -> None:
    closing = Mark(None, None, 10, {OLD: 2, NEW: 5})
    assert between([BootLoss((*MARKS, closing), 10)], 0, 100) == Losses({OLD: 2, NEW: 5}, 0)
    assert between([BootLoss((*MARKS, closing), 10)], 0, 19) == Losses({OLD: 2, NEW: 1}, 0)


def test_several_boots_add_up() -> None:
    assert between([BOOT, BOOT], 0, 100) == Losses({OLD: 4, NEW: 8}, 0)


def test_what_no_footer_tells_of_is_of_an_unknown_arm() -> None:
    assert between([BootLoss((), 7)], 0, 100) == Losses({}, 7), "no segment"
    assert between([BootLoss(MARKS, 12)], 0, 100) == Losses({OLD: 2, NEW: 4}, 3), "lost after the last one"
    assert between([BootLoss(MARKS, 12)], 0, 19) == Losses({OLD: 2, NEW: 1}, 0), "which is after the time, too"


def test_segments_of_earlier_gateways_do_not_know_but_where_nothing_was_lost() -> None:
    silent = (Mark(0, 9, 0, None), Mark(10, 19, 5, None))
    assert between([BootLoss(silent[:1], 0)], 0, 100) == Losses({}, 0)
    assert between([BootLoss(silent, 5)], 0, 100) == Losses({}, 5)
    assert between([BootLoss(silent, 5)], 20, 100) == Losses({}, 0)
