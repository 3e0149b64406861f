"""What people and scripts see: tables, JSON, one-line messages, progress."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

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
    """Print *rows*: with lines and within the width on a terminal, as aligned columns at full width elsewhere.

    Columns named in *right* are aligned to the right. Columns that are empty in every row are left out.
    """
    cells = [[plain("" if cell is None else cell) for cell in row] for row in rows]
    used = [index for index, _ in enumerate(columns) if any(row[index] for row in cells) or not cells]
    names = [columns[index] for index in used]
    cells = [[row[index] for index in used] for row in cells]
    if sys.stdout.isatty():
        _rich_table(names, cells, right)
    else:
        _plain_table(names, cells, right)


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    lines = [[name.upper() for name in columns], *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        padded = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, line, widths, strict=True)
        )
        print("  ".join(padded).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        grid.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name not in _PROSE)
    for row in rows:
        grid.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(grid)


_PROSE = frozenset({"framework", "metrics", "detail", "problem", "found", "advice", "columns"})
"""The columns that may take several lines on a narrow terminal."""

_STYLES: Mapping[str, str] = {
    "ok": "green",
    "AVAILABLE": "green",
    "warn": "yellow",
    "LOADING": "yellow",
    "UNLOADING": "yellow",
    "fail": "bold red",
    "FAILED": "bold red",
}


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


def percent(share: float) -> str:
    """Return a share from 0 to 1 as a percentage: `12.5 %`."""
    return f"{share * 100:.4g} %"


def number(value: float) -> str:
    """Return a number with at most six digits."""
    return f"{value:.6g}"


def named(values: Mapping[str, float]) -> str:
    """Return named numbers on one line: `rmse 517, mae 261`."""
    return ", ".join(f"{name} {number(value)}" for name, value in sorted(values.items()))
