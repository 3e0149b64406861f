"""Rows of any shape, as people and scripts see them: within the width, and nothing of a value cut off."""

from __future__ import annotations

import datetime
import decimal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from turnout_server.cli import grid, output
from turnout_server.cli.output import width


def say(text: str) -> None:
    """Print *text* on as many lines as it takes, those after the first indented."""
    hang("", output.plain(text), "  ")


def sentence(text: str) -> None:
    """Print *text* within a terminal's width, and on one line elsewhere."""
    if sys.stdout.isatty():
        say(text)
    else:
        output.say(output.plain(text))


def hang(first: str, text: str, rest: str) -> None:
    """Print *text* on as many lines as it takes within the width: behind *first*, and the others behind *rest*."""
    for number, line in enumerate(grid.wrap(text, width() - max(len(first), len(rest))) or [""]):
        output.say(f"{rest if number else first}{line}".rstrip())


def show(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] | None = None, empty: bool = True
) -> None:
    """Print *rows* as a table where that fits, and otherwise one below the other as `column value`, and say so.

    Args:
        columns: their names.
        rows: values of any type that a database has.
        right: the columns to align to the right; None for those of numbers.
        empty: keep columns that have no value in any row.
    """
    cells = [[output.plain(cell(value)) for value in row] for row in rows]
    kept = [index for index in range(len(columns)) if empty or any(row[index] for row in cells)]
    names = [output.plain(columns[index]) for index in kept]
    cells = [[row[index] or "-" for index in kept] for row in cells]
    widths = [max(map(grid.measure, column)) for column in zip(names, *cells, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= width():
        output.table(names, cells, right=_numeric(columns, rows) if right is None else right)
        return
    label = max(map(grid.measure, names))
    for index, row in enumerate(cells):
        if index:
            output.say()
        for name, value in zip(names, row, strict=True):
            if label + 22 > width():  # long names leave too little room beside them
                hang("", name, "")
                hang("  ", value, "  ")
            else:
                hang(name + " " * (label - grid.measure(name) + 2), value, " " * (label + 2))
    output.note(f"note: too wide for a table of {width()} columns; shown one below the other")


def _numeric(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the names of the columns that have numbers, and nothing else but nulls."""
    kinds = (int, float, decimal.Decimal)
    found: list[str] = []
    for index, name in enumerate(columns):
        values = [row[index] for row in rows if row[index] is not None]
        if values and all(isinstance(value, kinds) and not isinstance(value, bool) for value in values):
            found.append(output.plain(name))
    return found


def cell(value: Any) -> str:
    """Return a value as text; bytes in hexadecimal, times in UTC."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case bytes() | bytearray():
            return bytes(value).hex()
        case datetime.datetime():
            utc = value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value
            return utc.isoformat(sep=" ", timespec="milliseconds")
        case float():
            return output.number(value)
        case _:
            return str(value)


def json(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print *rows* as a list of JSON objects."""
    output.json(objects(columns, rows, plain=True))


def objects(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, plain: bool = False) -> list[dict[str, Any]]:
    """Return *rows* as dicts; a name that comes twice is told apart by a number. With *plain* as JSON has values."""
    names: list[str] = []
    for name in columns:
        again = sum(other == name for other in columns[: len(names)])
        names.append(f"{name}_{again + 1}" if again else name)
    return [dict(zip(names, map(_plain, row) if plain else row, strict=True)) for row in rows]


def _plain(value: Any) -> Any:
    match value:
        case bytes() | bytearray():
            return bytes(value).hex()
        case decimal.Decimal():
            return float(value)
        case datetime.timedelta():
            return value.total_seconds()
        case int() if not isinstance(value, bool) and not -(2**63) <= value < 2**64:
            return str(value)
        case list() | tuple():
            return [_plain(each) for each in value]
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case _:
            return value
