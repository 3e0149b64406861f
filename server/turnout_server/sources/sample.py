"""Some rows of input, by column: from a CSV file with a head, or from JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from turnout_server.sources.source import SourceError

_MOST_BYTES = 1 << 26
_WHOLE = 1 << 53
"""Beyond it, a float no longer has every whole number."""
_NONE = ("", "NA", "NaN", "nan", "null", "None")
"""How files write that a value is missing."""


class Sample(NamedTuple):
    """Rows, by column."""

    columns: dict[str, list[Any]]
    """Values of one type each; a missing one is NaN, or an empty text."""
    dtypes: dict[str, str]
    """BOOL, INT64, FP32 or BYTES."""

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(next(iter(self.columns.values()), []))


def read_sample(file: Path) -> Sample:
    """Read a sample.

    JSON is a list of objects, one a row, or an object of lists, one a column.

    Raises:
        SourceError: it cannot be read, or has no rows or columns of different lengths.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise SourceError(f"{file}: more than {_MOST_BYTES >> 20} MB; some rows are enough")
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{file}: neither CSV nor JSON: it is no UTF-8") from error
    except OSError as error:
        raise SourceError(f"{file}: {error.strerror}") from error
    columns = _of_json(file, text) if text.lstrip()[:1] in ("{", "[") else _of_csv(file, text)
    if not columns or not all(columns.values()) or len({len(values) for values in columns.values()}) != 1:
        raise SourceError(f"{file}: expected a row at least, and as many values in each column")
    for name, values in columns.items():
        if any(isinstance(value, list | dict) for value in values):
            raise SourceError(
                f"{file}: column {name!r} has lists; expected one value a row, and a column for each feature"
            )
    typed = {name: _typed(values) for name, values in columns.items()}
    return Sample(
        {name: values for name, (_, values) in typed.items()}, {name: kind for name, (kind, _) in typed.items()}
    )


def _of_csv(file: Path, text: str) -> dict[str, list[Any]]:
    try:
        reader = csv.reader(io.StringIO(text.strip("\r\n"), newline=""), strict=True)
        skipped = len(text) - len(text.lstrip("\r\n"))
        (_, head), *rest = [(reader.line_num + text[:skipped].count("\n"), row) for row in reader]
    except (ValueError, csv.Error) as error:
        raise SourceError(f"{file}: not CSV with a head: {error}") from error
    if len(set(head)) != len(head):
        raise SourceError(f"{file}: two columns have the same name")
    # Of one column an empty line is a row whose value is missing; of several it is nothing.
    numbered = [(number, row or [""]) for number, row in rest if row or len(head) == 1]
    for number, row in numbered:
        if len(row) != len(head):
            raise SourceError(f"{file}: line {number} has {len(row)} values for {len(head)} columns")
    rows = [row for _, row in numbered]
    cells = ([_parsed(row[place]) for row in rows] for place in range(len(head)))
    return dict(zip(head, cells, strict=True))


def _of_json(file: Path, text: str) -> dict[str, list[Any]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{file}: not JSON: {error}") from error
    if isinstance(document, list) and all(isinstance(row, dict) for row in document):
        names = dict.fromkeys(name for row in document for name in row)
        return {name: [row.get(name) for row in document] for name in names}
    if isinstance(document, dict) and all(isinstance(values, list) for values in document.values()):
        return document
    raise SourceError(f"{file}: expected a list of objects (rows), or an object of lists (columns)")


def _parsed(cell: str) -> Any:
    """Return what a cell of CSV says: a number, a truth, a text, or None."""
    if cell in _NONE:
        return None
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _typed(values: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return the narrowest dtype that has all values, and the values in it."""
    present = [value for value in values if value is not None]
    if present and len(present) == len(values):
        if all(isinstance(value, bool) for value in present):
            return "BOOL", [*values]
        if all(isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _WHOLE for value in present):
            return "INT64", [*values]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return "FP32", [math.nan if value is None else float(value) for value in values]
    return "BYTES", ["" if value is None else str(value) for value in values]
