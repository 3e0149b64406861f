"""Levels, and what a batch adds up to."""

from __future__ import annotations

import pytest

from tests.scheduling.items import item
from turnout_server.scheduling.item import DEFAULT_PRIORITY, LOWEST_PRIORITY, Batch, level_of


@pytest.mark.parametrize(
    ("asked", "level"), [(0, DEFAULT_PRIORITY), (-3, DEFAULT_PRIORITY), (1, 1), (10, 10), (11, LOWEST_PRIORITY)]
)
def test_a_priority_asks_for_a_level(asked: int, level: int) -> None:
    assert level_of(asked) == level


def test_a_request_without_rows_takes_the_room_of_one() -> None:
    assert [item(rows=rows).room for rows in (0, 1, 8)] == [1, 1, 8]


def test_a_batch_is_the_sum_of_its_requests() -> None:
    assert Batch([item(rows=3), item(rows=5)]).rows == 8
