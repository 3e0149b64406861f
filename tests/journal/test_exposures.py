"""Exposures are counted by arm, and each of them is held, written or lost."""

from __future__ import annotations

import pytest

from tests.journal.records import DECISION, record
from turnout_server.journal.exposures import Balance, Counts, add, counted, read, said
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.exposure import Arm

CONTROL, CANARY = Arm("price", "trial", "control"), Arm("price", "trial", "canary")


def test_of_records_those_are_counted_that_are_exposures() -> None:
    taken = [
        record(0),
        record(1),
        record(2, decision=DECISION._replace(assigned="canary")),
        record(3, unit=""),
        record(4, copy_of=0),
        record(5, decision=DECISION._replace(reason=Reason.OVERRIDE)),
        record(-1, decision=None),
    ]
    assert counted(taken) == {Arm("price", "", "control"): 2, Arm("price", "", "canary"): 1}


def test_counts_are_added_by_arm() -> None:
    counts: Counts = {CONTROL: 1}
    add(counts, {CONTROL: 2, tuple(CANARY): 3})
    assert counts == {CONTROL: 3, CANARY: 3}


def test_what_is_held_is_written_or_lost() -> None:
    balance = Balance()
    balance.hold({CONTROL: 5, CANARY: 2})
    balance.lose({CONTROL: 1})
    assert (balance.held, balance.written, balance.dropped) == ({CONTROL: 4, CANARY: 2}, {}, {CONTROL: 1})
    balance.wrote()
    assert (balance.held, balance.written) == ({}, {CONTROL: 4, CANARY: 2})
    balance.hold({CANARY: 1})
    balance.lose(balance.held)
    balance.wrote()
    assert (balance.written, balance.dropped) == ({CONTROL: 4, CANARY: 2}, {CONTROL: 1, CANARY: 1})


def test_a_footer_says_counts_and_leaves_out_zeros() -> None:
    assert said({}) == "[]"
    text = said({CONTROL: 3, CANARY: 0})
    assert text == '[{"route":"price","experiment":"trial","target":"control","count":3}]'
    assert read(text) == {CONTROL: 3}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"route":"price"}]', '[{"route":1}]'])
def test_what_are_no_counts_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(text)
