"""What reports are made of, and what command lines say."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.options import above_0, several, some_of
from benchmarks.text import listed, table


def test_a_table_is_markdown() -> None:
    assert table(["a", "b"], [["1", "2"], ["3", "4"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"


def test_facts_are_listed_in_one_sentence() -> None:
    assert listed({"system": "Linux", "cores": "2"}) == "system Linux; cores 2"


def test_numbers_come_one_by_one_or_several_at_once() -> None:
    assert above_0(int)("3") == 3
    assert several(float)("0.5,2") == (0.5, 2.0)


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "many", ""])
def test_what_is_no_number_above_0_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        above_0(float)(text)


def test_names_are_taken_once_each_and_have_to_be_known() -> None:
    parse = some_of(("a", "b"))
    assert parse("b,a,b") == ("b", "a")
    with pytest.raises(argparse.ArgumentTypeError, match="unknown: c; there are a, b"):
        parse("a,c")
