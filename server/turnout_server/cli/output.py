"""What people and scripts see: tables, JSON, one-line messages, progress."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from turnout_server.cli import grid

PROGRESS_BYTES = 16 * 1024 * 1024
"""Less work than this, in bytes, shows no progress bar."""


def plain(text: object) -> str:
    """Return *text* on one line and without control characters, which could steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in str(text))


def one_line(text: object) -> str:
    """Return *text* on one line, each run of white space a single space."""
    return " ".join(plain(text).split())


def say(text: str = "") -> None:
    """Print a line of data on stdout."""
    print(text)


def note(text: str) -> None:
    """Print a remark on stderr."""
    print(one_line(text), file=sys.stderr)


def error(text: str) -> None:
    """Print the one line that says what went wrong."""
    print(f"turnout: error: {one_line(text)}", file=sys.stderr)


def json(value: Any, *, indent: int = 2) -> None:
    """Print *value* as JSON; NaN becomes null. With *indent* 0 on one line."""
    raw = msgspec.json.encode(value)
    print((msgspec.json.format(raw, indent=indent) if indent else raw).decode())


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print *rows* as aligned columns: within the width on a terminal, as wide as they are elsewhere.

    On a terminal what does not fit stands below its row, with its column's name; nothing is cut. Columns named in
    *right* are aligned to the right. Columns that are empty in every row are left out.
    """
    terminal = sys.stdout.isatty()
    for line in table_lines(columns, rows, width() if terminal else None, right=right, coloured=terminal):
        print(line)


def table_lines(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int | None,
    *,
    right: Sequence[str] = (),
    coloured: bool = False,
) -> list[str]:
    """Return the lines that `table` prints, within *width*; None is any."""
    cells = [[plain("" if cell is None else cell) for cell in row] for row in rows]
    used = [index for index, _ in enumerate(columns) if any(row[index] for row in cells) or not cells]
    names = [columns[index] for index in used]
    cells = [[row[index] for index in used] for row in cells]
    if not names:
        return []
    colours = coloured and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    lines = grid.lay_out(names, cells, width, right=right, below_first=_PROSE, paint=_painted if colours else _bare)
    return [f"\x1b[1m{lines[0]}\x1b[0m", *lines[1:]] if colours else lines


def width() -> int:
    """Return how many columns there are: the terminal's, COLUMNS, else 80."""
    return max(grid.LEAST, shutil.get_terminal_size((80, 24)).columns)


def _bare(text: str, padded: str) -> str:
    return padded


def _painted(text: str, padded: str) -> str:
    colour = _COLOURS.get(text)
    return padded if colour is None else f"\x1b[{colour}m{padded}\x1b[0m"


_PROSE = frozenset({"framework", "metrics", "detail", "problem", "found", "advice", "columns"})
"""The columns that go below their row first, on a narrow terminal."""

_COLOURS: Mapping[str, str] = {
    "ok": "32",
    "AVAILABLE": "32",
    "warn": "33",
    "LOADING": "33",
    "UNLOADING": "33",
    "fail": "1;31",
    "FAILED": "1;31",
}
"""By a cell's text, what a terminal calls its colour."""


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Lend a function that is told the bytes done since its last call; a large *total* shows a bar on a terminal."""
    if total < PROGRESS_BYTES or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    parts = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*parts, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


def size(count: int | None) -> str:
    """Return a number of bytes as people say it: `3.2 MB`."""
    if count is None:
        return ""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.5 or unit == "GB":
            break
    return f"{amount:.1f} {unit}"


def counted(count: int, what: str) -> str:
    """Return *count* of *what*: `1 record`, `2 records`."""
    return f"{count} {what}{'s' * (count != 1)}"


def percent(share: float) -> str:
    """Return a share from 0 to 1 as a percentage: `12.5 %`."""
    return f"{share * 100:.4g} %"


def number(value: float) -> str:
    """Return a number with at most six digits."""
    return f"{value:.6g}"


def named(values: Mapping[str, float]) -> str:
    """Return named numbers on one line: `rmse 517, mae 261`."""
    return ", ".join(f"{name} {number(value)}" for name, value in sorted(values.items()))
