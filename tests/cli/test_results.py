"""Rows of any shape, within the width."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.cli import results


def test_rows_that_fit_are_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    results.show(("route", "n"), [("price", 3), ("ranking", 12)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["ROUTE", "N"], ["price", "3"], ["ranking", "12"]]


def test_rows_that_do_not_fit_lie_one_below_the_other_and_nothing_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "x" * 100
    results.show(("first", "second"), [(long, 1)])
    out = capsys.readouterr().out
    assert "".join(out.split()).count("x") == 100
    assert max(map(len, out.splitlines())) <= 40


@given(st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.binary(max_size=20)))
def test_every_value_has_a_text(value: object) -> None:
    assert isinstance(results.cell(value), str)


def test_a_time_is_readable() -> None:
    moment = datetime.datetime(2026, 11, 28, 6, 47, 31, 343000, datetime.UTC)
    assert results.cell(moment).startswith("2026-11-28 06:47:31")
