"""Plots as SVG that stands in a page. Pure.

A plot is as wide as there is room. Lines stretch with it: they are in thousandths of the width. Texts don't: their
places are in percent. So what can be read on a desk can be read on a phone. Colours are the page's, by class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby
from typing import NamedTuple, TypeVar

from turnout_server.experiments.markup import escaped, quoted

ROW = 34
"""Pixels of one row of a forest plot: a label and, below it, the interval."""
HEIGHT = 190
"""Pixels of a plot over days."""
MOST_LABEL = 46
"""Letters of a label that a phone has room for."""

_AXIS = 20
_SIDE = 15
"""Thousandths of the width that stay free at either side."""
_WIDE = 4
_MORE = 1.5
"""What is more than so many times as far out as most others are, or as what has to be seen, is cut off at the edge."""

_ENDLESS = 1e12
"""What is farther out is drawn as if it had no end."""


class Scale(NamedTuple):
    """What a plot has room for."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Return where a value is, from 0 to 1; what is out of range is at the edge."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


class Row(NamedTuple):
    """One interval of a forest plot, with its value; without either the row says so."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    harm: float | None = None
    """Beyond here it is harm."""
    is_exploratory: bool = False


class Point(NamedTuple):
    """What is known on one day; None where nothing is."""

    day: date
    value: float | None
    low: float | None = None
    high: float | None = None


Drawn = TypeVar("Drawn", Row, Point)


def scale(numbers: Iterable[float], whole: Iterable[float] = ()) -> Scale:
    """Return a scale with room for 0, for *whole*, and for *numbers* as far as they are not out of all proportion."""
    kept, known = list(finite(whole)), list(finite(numbers))
    sizes = sorted(abs(each) for each in known if each)
    typical = sizes[len(sizes) // 2] if sizes else 0.0
    most = max(_WIDE * typical, *(_MORE * abs(each) for each in kept), 0.0)
    clipped = [min(max(each, -most), most) for each in known] + kept + [0.0]
    low, high = min(clipped), max(clipped)
    return Scale(low, high) if high - low > 1 / _ENDLESS else Scale(-1.0, 1.0)


def finite(numbers: Iterable[float | None]) -> Iterator[float]:
    """Yield the numbers that a scale can have room for."""
    return (each for each in numbers if each is not None and abs(each) <= _ENDLESS)


def ticks(room: Scale, most: int = 5) -> list[float]:
    """Return round numbers within a scale, at most so many."""
    rough = (room.high - room.low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(each * size for each in (1, 2, 5, 10, 20) if (room.high - room.low) / (each * size) < most)
    first, last = math.ceil(room.low / step), math.floor(room.high / step)
    return [index * step for index in range(first, last + 1)]


def tick(value: float, *, is_share: bool) -> str:
    """Return a round number as an axis has it."""
    sign = "+" if value else ""
    return f"{value * 100:{sign}.6g}%" if is_share else f"{value:{sign}.6g}"


def forest(rows: Sequence[Row], room: Scale, name: str, *, is_share: bool) -> str:
    """Draw values with their intervals, one below the other, on one scale.

    Args:
        rows: from the top down.
        room: the scale.
        name: what a reader who cannot see it is told.
        is_share: whether numbers are parts of 1.
    """
    rows = [_of_numbers(row) for row in rows]
    height = _AXIS + ROW * len(rows)
    marks = ticks(room)
    grid = "".join(f"M{_x(room, each)} {_AXIS}V{height}" for each in marks)
    strong, weak = [[row for row in enumerate(rows) if row[1].is_exploratory is which] for which in (False, True)]
    lines = [
        _path("grid", grid),
        _path("zero", f"M{_x(room, 0.0)} {_AXIS}V{height}"),
        _path("harm", "".join(_harm(room, *row) for row in enumerate(rows))),
        _path("bar", "".join(_bar(room, *row) for row in strong)),
        _path("bar weak", "".join(_bar(room, *row) for row in weak)),
        _path("dot", "".join(_dot(room, *row) for row in enumerate(rows))),
        _path("hole", "".join(_dot(room, *row) for row in weak)),
    ]
    texts = [_text(_share(room, each), 13, tick(each, is_share=is_share), "tick") for each in marks]
    for index, row in enumerate(rows):
        texts += _labels(room, index, row)
    return _svg(height, name, lines, texts)


def band(points: Sequence[Point], name: str, harm: float | None = None) -> str:
    """Draw a value in its interval over days, in percent."""
    points = [_of_numbers(point) for point in points]
    later = points[len(points) // 2 :]
    values = [each for point in points for each in finite((point.value, point.low, point.high))]
    whole = [each for point in later for each in finite((point.value,))] + [*finite((harm,))]
    if later:
        whole += finite((later[-1].low, later[-1].high))
    room = scale(values, whole)
    lines = []
    for known, group in groupby(points, key=lambda point: point.low is not None and point.high is not None):
        if known:
            lines.append(_path("band", _area(points, list(group), room)))
    lines += [
        _path("harm dashed", "" if harm is None else f"M0 {_y(room, harm)}H1000"),
        _path("zero", f"M0 {_y(room, 0.0)}H1000"),
        _path("line c0", _line(points, [point.value for point in points], room)),
    ]
    labels = [(each, tick(each, is_share=True)) for each in ticks(room)]
    return _over_days(points[0].day, points[-1].day, room, labels, name, lines)


def totals(days: Sequence[date], arms: Sequence[Sequence[int]], name: str) -> str:
    """Draw how many units each arm has had up to each day; arms differ by the classes `c0` to `c5`."""
    room = Scale(0.0, float(max(1, *(each for arm in arms for each in arm))))
    points = [Point(day, None) for day in days]
    lines = [_path(f"line c{index % 6}", _line(points, arm, room)) for index, arm in enumerate(arms)]
    labels = [(each, f"{each:,.0f}") for each in ticks(room) if each == int(each)]
    return _over_days(days[0], days[-1], room, labels, name, lines)


def p_values(points: Sequence[Point], least: float, name: str) -> str:
    """Draw p-values over days, on a logarithmic scale, beside the least that is no alarm."""
    logs = [Point(each.day, _log(each.value)) for each in points]
    room = Scale(min([-4.0, *(each.value for each in logs if each.value is not None)]), 0.0)
    lines = [
        _path("harm dashed", f"M0 {_y(room, math.log10(least))}H1000"),
        _path("line c0", _line(logs, [each.value for each in logs], room)),
    ]
    step = 1 if room.low > -6 else 3
    labels = [(float(each), f"{10.0**each:g}") for each in range(0, math.floor(room.low) - 1, -step)]
    labels = [label for label in labels if label[0] >= room.low]
    return _over_days(logs[0].day, logs[-1].day, room, labels, name, lines)


def shortened(text: str, most: int) -> str:
    """Return at most so many letters, at least 3, of the beginning and the end."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def swatch(index: int) -> str:
    """Draw a piece of the line of an arm, for a key."""
    return f"<svg class=swatch aria-hidden=true>{_path(f'line c{index % 6}', 'M0 6H28')}</svg>"


# ---------------------------------------------------------------- pieces


def _of_numbers(drawn: Drawn) -> Drawn:
    """Return it without what is no number."""
    value, low, high = (None if each is None or math.isnan(each) else each for each in drawn[1:4])
    return drawn._replace(value=value, low=low, high=high)


def _share(room: Scale, value: float) -> float:
    return _SIDE / 1000 + room.share(value) * (1 - 2 * _SIDE / 1000)


def _x(room: Scale, value: float) -> str:
    return f"{1000 * _share(room, value):.0f}"


def _y(room: Scale, value: float) -> str:
    return f"{_AXIS + (1 - room.share(value)) * (HEIGHT - 2 * _AXIS):.0f}"


def _path(kind: str, steps: str) -> str:
    return f'<path class="{kind}" d="{steps}"/>' if steps else ""


def _text(share: float, y: float, words: str, kind: str) -> str:
    anchor = " s" if share < 0.06 else " e" if share > 0.94 else ""
    return f'<text x="{100 * share:.1f}%" y={y:g} class="{kind}{anchor}">{escaped(words)}</text>'


def _svg(height: int, name: str, lines: Iterable[str], texts: Iterable[str]) -> str:
    stretched = f'<svg viewBox="0 0 1000 {height}" width="100%" height={height} preserveAspectRatio=none>'
    return (
        f'<svg class=plot role=img aria-label={quoted(name)} width="100%" height={height}>'
        f"{stretched}{''.join(lines)}</svg>{''.join(texts)}</svg>"
    )


def _bar(room: Scale, index: int, row: Row) -> str:
    if row.low is None or row.high is None:
        return ""
    return f"M{_x(room, row.low)} {_middle(index)}H{_x(room, row.high)}"


def _dot(room: Scale, index: int, row: Row) -> str:
    if row.value is None or not room.low <= row.value <= room.high:
        return ""
    return f"M{_x(room, row.value)} {_middle(index)}h.01"


def _harm(room: Scale, index: int, row: Row) -> str:
    if row.harm is None or not room.low <= row.harm <= room.high:
        return ""
    return f"M{_x(room, row.harm)} {_middle(index) - 7}v14"


def _middle(index: int) -> int:
    return _AXIS + ROW * index + 25


def _labels(room: Scale, index: int, row: Row) -> Iterator[str]:
    yield _text(0.0, _AXIS + ROW * index + 13, shortened(row.label, MOST_LABEL), "label")
    if row.value is None and row.low is None:
        yield _text(0.0, _middle(index) + 4, "nothing is said", "tick")
    if any(each is not None and each < room.low for each in (row.value, row.low)):
        yield _text(0.0, _middle(index) + 4, "◂", "arrow")
    if any(each is not None and each > room.high for each in (row.value, row.high)):
        yield _text(1.0, _middle(index) + 4, "▸", "arrow")


def _over_days(
    first: date, last: date, room: Scale, labels: Iterable[tuple[float, str]], name: str, lines: Iterable[str]
) -> str:
    labels = list(labels)
    grid = _path("grid", "".join(f"M0 {_y(room, value)}H1000" for value, _ in labels))
    texts = [_text(0.0, float(_y(room, value)) - 3, words, "tick") for value, words in labels]
    texts.append(_text(0.0, HEIGHT - 4, first.isoformat(), "tick"))
    if last != first:
        texts.append(_text(1.0, HEIGHT - 4, last.isoformat(), "tick"))
    return _svg(HEIGHT, name, [grid, *lines], texts)


def _when(points: Sequence[Point], day: date) -> str:
    whole = (points[-1].day - points[0].day).days
    return f"{1000 * (day - points[0].day).days / whole:.0f}" if whole else "500"


def _area(points: Sequence[Point], known: Sequence[Point], room: Scale) -> str:
    there = [f"{_when(points, each.day)} {_y(room, each.high)}" for each in known if each.high is not None]
    back = [f"{_when(points, each.day)} {_y(room, each.low)}" for each in reversed(known) if each.low is not None]
    return f"M{'L'.join([*there, *back])}Z"


def _line(points: Sequence[Point], values: Sequence[float | None], room: Scale) -> str:
    steps, is_drawing = [], False
    for point, value in zip(points, values, strict=True):
        if value is not None:
            steps.append(f"{'L' if is_drawing else 'M'}{_when(points, point.day)} {_y(room, value)}")
            # A day that stands alone is a dot.
            steps.append("" if is_drawing else "h.01")
        is_drawing = value is not None
    return "".join(steps)


def _log(p: float | None) -> float | None:
    return None if p is None or math.isnan(p) else math.log10(max(p, 1e-12))
