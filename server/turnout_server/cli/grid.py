"""Lays rows out within a width: side by side what fits, below its row what doesn't, and nothing cut."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

GAP = "  "
_INDENT = "  "
LEAST = 20
"""No width is less, in columns of the terminal."""

_WORDS = re.compile("( *)([^ ]+)")

Paint = Callable[[str, str], str]
"""Given a cell's text and the same padded, return what is printed: the padded one, with or without colours."""


def lay_out(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    *,
    right: Iterable[str] = (),
    below_first: Iterable[str] = (),
    paint: Paint = lambda text, padded: padded,
) -> list[str]:
    """Return the lines of a table that is no wider than *width*; None is as wide as it takes.

    What does not fit goes below its row, each value behind its column's name: first the columns of *below_first*, then
    others, from the right. The first column stays; a value that is wider than everything takes several lines.

    Args:
        columns: their names, each at most once.
        rows: a cell for each column, on one line and without control characters.
        width: in columns of the terminal.
        right: the columns that are aligned to the right.
        below_first: the columns that give way first, in any order.
        paint: colours cells of the table.
    """
    if width is not None:
        width = max(width, LEAST)
    beside = _beside(columns, rows, width, frozenset(below_first))
    below = [index for index in range(len(columns)) if index not in beside]
    heads = [columns[index].upper() for index in beside]
    cells = [[row[index] for index in beside] for row in rows]
    widths = [max(map(measure, column)) for column in zip(heads, *cells, strict=True)]
    if width is not None:
        widths[0] = min(widths[0], width)
    rights = [columns[index] in right for index in beside]
    lines = _line(heads, widths, rights, lambda text, padded: padded)
    for row, shown in zip(rows, cells, strict=True):
        lines += _line(shown, widths, rights, paint)
        values = [f"{columns[index]} {row[index]}".lstrip() for index in below if row[index]]
        if values:
            lines += [_INDENT + line for line in wrap("; ".join(values), (width or LEAST) - len(_INDENT))]
    return lines


def _beside(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, first: frozenset[str]
) -> list[int]:
    """Return the columns that stand side by side."""
    beside = list(range(len(columns)))
    if width is None:
        return beside
    widths = [max(measure(columns[index]), *(measure(row[index]) for row in rows), 0) for index in beside]
    give_way = sorted(beside[1:], key=lambda index: (columns[index] in first, index))
    while give_way and sum(widths[index] for index in beside) + len(GAP) * (len(beside) - 1) > width:
        beside.remove(give_way.pop())
    return beside


def _line(cells: Sequence[str], widths: Sequence[int], rights: Sequence[bool], paint: Paint) -> list[str]:
    """Return one row's line; more where its first cell is wider than there is room."""
    folded = fold(cells[0], widths[0])
    padded = [
        _pad(cell, width, right) for cell, width, right in zip([folded[-1], *cells[1:]], widths, rights, strict=True)
    ]
    painted = [paint(cell, shown) for cell, shown in zip(cells, padded, strict=True)]
    last = GAP.join(painted)
    # A row may have nothing but what stands below it.
    return [*folded[:-1], last.rstrip()] if any(cells) else []


def _pad(text: str, width: int, right: bool) -> str:
    spaces = " " * (width - measure(text))
    return spaces + text if right else text + spaces


def measure(text: str) -> int:
    """Return how many of a terminal's columns *text* takes."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def wrap(text: str, width: int) -> list[str]:
    """Return *text* in lines of at most *width*, broken at spaces, and within a word that is wider than a line."""
    lines: list[str] = []
    line = ""
    for gap, word in _WORDS.findall(text.rstrip()):
        if line and measure(line) + len(gap) + measure(word) <= width:
            line += gap + word
            continue
        if line:
            lines.append(line)
        *full, line = fold(word, width)
        lines += full
    return [*lines, line] if line else lines


def fold(text: str, width: int) -> list[str]:
    """Return *text* in pieces of at most *width*, wherever they end; at least one."""
    pieces, piece, taken = [], "", 0
    for char in text:
        columns = _columns(char)
        if piece and taken + columns > width:
            pieces.append(piece)
            piece, taken = "", 0
        piece, taken = piece + char, taken + columns
    return [*pieces, piece]
