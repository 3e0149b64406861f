"""Plots are where the numbers are, at any width, and hide nothing that is out of range."""

from __future__ import annotations

import math
import re
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.experiments import plots
from turnout_server.experiments.plots import Point, Row, Scale

FIRST = date(2026, 10, 1)
DAYS = [FIRST + timedelta(days=index) for index in range(5)]
numbers = st.floats()
maybe = st.one_of(st.none(), numbers)


def tree(svg: str) -> ElementTree.Element:
    """Return a plot as XML, once attributes of HTML are quoted."""
    return ElementTree.fromstring(re.sub(r"=([^\s\"'>]+?)(?=[\s>]|/>)", r'="\1"', svg))


def path(svg: str, kind: str) -> str | None:
    found = [each for each in tree(svg).iter("path") if each.get("class") == kind]
    return found[0].get("d") if found else None


def words(svg: str) -> list[str]:
    return [each.text or "" for each in tree(svg).iter("text")]


def test_a_scale_has_room_for_zero_and_for_all_that_is_alike() -> None:
    assert plots.scale([0.1, 0.2, 0.3]) == Scale(0.0, 0.3)
    assert plots.scale([-0.1, 0.2]) == Scale(-0.1, 0.2)


def test_one_interval_that_is_far_out_does_not_flatten_the_others() -> None:
    assert plots.scale([0.1, -0.1, 0.2, 40.0]).high < 1


def test_what_has_to_be_seen_is_seen_whole() -> None:
    assert plots.scale([0.001, 0.001, 0.001, 5.0], [5.0]).high == 5.0


@given(st.lists(numbers, max_size=20), st.lists(numbers, max_size=3))
def test_there_is_a_scale_with_round_numbers_for_all_numbers(some: list[float], whole: list[float]) -> None:
    room = plots.scale(some, whole)
    assert math.isfinite(room.low)
    assert room.low < room.high
    marks = plots.ticks(room)
    assert 1 <= len(marks) <= 6
    assert all(room.low - 1e-9 * abs(room.low) <= each <= room.high + 1e-9 * abs(room.high) for each in marks)


@pytest.mark.parametrize(("value", "shown"), [(0.2, "+20%"), (-0.05, "-5%"), (0.0, "0%")])
def test_an_axis_has_short_numbers(value: float, shown: str) -> None:
    assert plots.tick(value, is_share=True) == shown


def test_an_interval_is_drawn_from_end_to_end() -> None:
    svg = plots.forest([Row("a", 0.0, -1.0, 1.0)], Scale(-1.0, 1.0), "name", is_share=True)
    assert path(svg, "bar") == "M15 45H985"
    assert path(svg, "dot") == "M500 45h.01"


def test_a_margin_is_drawn_and_what_is_exploratory_looks_so() -> None:
    rows = [Row("a", 0.0, -1.0, 1.0, harm=-0.5), Row("b", 0.0, -1.0, 1.0, is_exploratory=True)]
    svg = plots.forest(rows, Scale(-1.0, 1.0), "name", is_share=True)
    assert path(svg, "harm") == "M258 38v14"
    assert path(svg, "bar weak") == "M15 79H985"
    assert path(svg, "hole") == "M500 79h.01"


def test_what_reaches_over_the_edge_has_an_arrow() -> None:
    room = Scale(-1.0, 1.0)
    assert "▸" in words(plots.forest([Row("a", 0.0, -1.0, math.inf)], room, "name", is_share=True))
    assert "◂" in words(plots.forest([Row("a", 0.0, -2.0, 1.0)], room, "name", is_share=True))
    inside = words(plots.forest([Row("a", 0.0, -1.0, 1.0)], room, "name", is_share=True))
    assert not {"◂", "▸"} & set(inside)


def test_silence_is_said_and_not_drawn() -> None:
    svg = plots.forest([Row("a", None)], Scale(-1.0, 1.0), "name", is_share=True)
    assert "nothing is said" in words(svg)
    assert path(svg, "dot") is None
    assert path(svg, "bar") is None


def test_a_silent_day_is_a_gap() -> None:
    points = [Point(day, 0.0, -0.1, 0.1) for day in DAYS]
    points[2] = Point(DAYS[2], None)
    svg = plots.band(points, "name")
    line = path(svg, "line c0")
    assert line is not None
    assert line.count("M") == 2
    assert svg.count('class="band"') == 2


def test_days_are_where_the_calendar_has_them() -> None:
    svg = plots.totals([DAYS[0], DAYS[1], DAYS[4]], [[1, 2, 3]], "name")
    line = path(svg, "line c0")
    assert line is not None
    assert re.findall(r"[ML](\d+) ", line) == ["0", "250", "1000"]


def test_no_two_of_six_arms_have_the_same_line() -> None:
    svg = plots.totals(DAYS, [[1, 2, 3, 4, 5]] * 6, "name")
    assert {f"line c{index}" for index in range(6)} <= {each.get("class") for each in tree(svg).iter("path")}


def test_a_p_value_below_the_least_is_below_its_line() -> None:
    svg = plots.p_values([Point(DAYS[0], 0.5), Point(DAYS[1], 1e-5)], 0.001, "name")
    least, line = path(svg, "harm dashed"), path(svg, "line c0")
    assert least is not None
    assert line is not None
    assert int(re.findall(r"L\d+ (\d+)", line)[0]) > int(least.split()[1].split("H")[0])


@given(st.lists(st.tuples(maybe, maybe, maybe, maybe, st.booleans()), min_size=1, max_size=6))
def test_any_numbers_can_be_drawn(
    values: list[tuple[float | None, float | None, float | None, float | None, bool]],
) -> None:
    rows = [Row("a", *each) for each in values]
    points = [Point(FIRST + timedelta(days=index), *each[:3]) for index, each in enumerate(values)]
    room = plots.scale([end for row in rows for end in plots.finite((row.value, row.low, row.high))])
    for svg in (plots.forest(rows, room, "name", is_share=True), plots.band(points, "name")):
        assert not re.search("nan|inf", svg)
        tree(svg)


def test_a_plot_has_a_name_for_those_who_cannot_see_it() -> None:
    root = tree(plots.forest([Row("a", 0.0)], Scale(-1.0, 1.0), 'of "all"', is_share=True))
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'of "all"'


def test_a_long_label_keeps_its_beginning_and_its_end() -> None:
    short = plots.shortened("revenue-per-session-of-returning-customers", 21)
    assert short == "revenue-pe…-customers"
    assert plots.shortened("revenue", 21) == "revenue"
