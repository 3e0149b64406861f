"""Who waits for a run, and what becomes of it when they leave."""

from __future__ import annotations

import numpy as np
import pytest

from turnout_server.execution.audience import Audiences
from turnout_server.scheduling.item import Item


class Ending:
    """Tells how often it was told."""

    def __init__(self) -> None:
        self.told = 0

    @property
    def has_ended(self) -> bool:
        return self.told > 0

    def end(self) -> None:
        self.told += 1


def items(count: int) -> list[Item]:
    return [Item({"x": np.zeros(1)}, ("y",), 1, 0, None, print) for _ in range(count)]


@pytest.fixture
def audiences() -> Audiences:
    return Audiences()


def test_the_last_one_who_leaves_ends_the_run(audiences: Audiences) -> None:
    ending, waiting = Ending(), items(3)
    audiences.gather(ending, waiting)
    for item in waiting[:-1]:
        audiences.leave(item)
    assert not ending.told
    audiences.leave(waiting[-1])
    assert (ending.told, len(audiences)) == (1, 0)


def test_who_leaves_twice_counts_once(audiences: Audiences) -> None:
    ending, waiting = Ending(), items(2)
    audiences.gather(ending, waiting)
    for _ in range(2):
        audiences.leave(waiting[0])
    assert not ending.told


def test_a_run_has_an_audience_of_its_own(audiences: Audiences) -> None:
    (mine, one), (others, other) = (Ending(), items(1)), (Ending(), items(1))
    audiences.gather(mine, one)
    audiences.gather(others, other)
    audiences.leave(one[0])
    assert (mine.told, others.told) == (1, 0)


def test_a_run_that_is_over_is_not_ended_and_nothing_is_kept_of_it(audiences: Audiences) -> None:
    ending, waiting = Ending(), items(2)
    audiences.gather(ending, waiting)
    audiences.leave(waiting[0])
    audiences.disperse(waiting)
    assert not len(audiences)
    audiences.leave(waiting[1])
    assert not ending.told
