"""Copies are in nobody's way."""

from __future__ import annotations

from turnout_server.scheduling.copies import MOST_WAITING, Load, has_room


def test_a_dear_copy_needs_a_core_that_is_idle_and_an_empty_queue() -> None:
    assert has_room(Load(here=0, everywhere=0, idle_cores=1), cheap=False)
    assert not has_room(Load(here=0, everywhere=0, idle_cores=0), cheap=False)
    assert not has_room(Load(here=1, everywhere=1, idle_cores=2), cheap=False)


def test_a_cheap_copy_runs_beside_cheap_requests_and_goes_first_under_overload() -> None:
    assert has_room(Load(here=3, everywhere=MOST_WAITING - 1, idle_cores=0), cheap=True)
    assert not has_room(Load(here=0, everywhere=MOST_WAITING, idle_cores=2), cheap=True)
