"""Three runs that had to be ended, one soon after the other, are too many."""

from __future__ import annotations

from turnout_server.serving.overruns import MOST, WITHIN_S, Overruns
from turnout_server.vocabulary.versions import VersionKey

KEY, OTHER = VersionKey("price", 1), VersionKey("price", 2)
TIMEOUT_S = 30.0
SPAN_S = WITHIN_S + MOST * TIMEOUT_S


def test_those_of_one_version_are_counted_and_counting_begins_anew() -> None:
    overruns = Overruns()
    noted = [(KEY, 0), (OTHER, 1), (KEY, 10), (KEY, 20), (KEY, 21)]
    assert [overruns.note(key, TIMEOUT_S, now, 0) for key, now in noted] == [1, 1, 2, 3, 1]


def test_one_run_after_the_other_that_is_ended_is_too_many_however_long_each_may_take() -> None:
    overruns = Overruns()
    assert [overruns.note(KEY, 1000.0, now, 7) for now in (1000, 2000, 3000)] == [1, 2, 3]


def test_those_of_long_ago_do_not_count() -> None:
    overruns = Overruns()
    assert [overruns.note(KEY, TIMEOUT_S, now, 0) for now in (0, 1, SPAN_S + 0.5, SPAN_S + 1.5)] == [1, 2, 2, 2]


def test_a_version_that_does_its_work_is_not_withdrawn_for_what_some_ask_of_it() -> None:
    overruns = Overruns()
    well = (5, 5, 6, 6, 6)
    assert [overruns.note(KEY, TIMEOUT_S, now, count) for now, count in enumerate(well)] == [1, 2, 1, 2, 3]
