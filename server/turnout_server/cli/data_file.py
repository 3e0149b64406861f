"""Files of requests: JSON in several forms, CSV, Parquet, and NumPy's NPZ and NPY."""

from __future__ import annotations

import contextlib
import csv
import decimal
import glob
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from turnout_server.cli import exits
from turnout_server.cli.exits import CommandError

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, by column."""

    columns: Mapping[str, Sequence[Any]]
    is_text: bool = False
    """Whether the values are texts that mean what the model takes."""
    lines: Sequence[int] = field(default=(), compare=False)
    """Of a file of text: the line that each row ends in, from 1, since blank lines are no rows of several columns."""


@dataclass(frozen=True, slots=True)
class Whole:
    """Whole inputs by name, and the outputs that are wanted, all where there are none."""

    inputs: Mapping[str, Any]
    outputs: tuple[str, ...] = field(default=())


Contents = dict[str, Any] | Table | Whole
"""What a file has; a dict is a JSON object that says no more of itself."""


def read(file: Path) -> Contents:
    """Return what *file* has, by its name's ending; stdin (`-`) is JSON, or CSV.

    Raises:
        CommandError: it cannot be read, or is not what it is called.
    """
    kind = "" if str(file) == STDIN else file.suffix.lower()
    with _reading(file):
        if kind in (".parquet", ".pq"):
            return Table(_parquet(file))
        if kind in (".npz", ".npy"):
            return _numpy(file)
        raw = sys.stdin.buffer.read() if str(file) == STDIN else file.read_bytes()
        text = raw.decode("utf-8-sig")
        if kind in (".csv", ".tsv") or (not kind and _looks_like_csv(text)):
            return _csv(file, text, "\t" if kind == ".tsv" or (not kind and "\t" in text.partition("\n")[0]) else ",")
        if kind in (".jsonl", ".ndjson"):
            return _rows(file, _lines_of_json(file, text))
        return _json(file, json.loads(text))


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn what goes wrong with reading into one line."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror or error}", exits.NOT_FOUND) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: not UTF-8 text", exits.INVALID) from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{file}: not JSON: {error}", exits.INVALID) from error


# ---------------------------------------------------------------- JSON


def _json(file: Path, document: Any) -> Contents:
    if isinstance(document, list):
        return _rows(file, document)
    if not isinstance(document, dict):
        raise CommandError(f"{file}: expected a JSON object, or a list of rows", exits.INVALID)
    if isinstance(document.get("inputs"), list):
        return _open_inference(file, document)
    return document


def _rows(file: Path, rows: list[Any]) -> Table:
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise CommandError(f"{file}: row {place} is {str(row)[:40]!r}; expected {{feature: value}}", exits.INVALID)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table({name: [row.get(name) for row in rows] for name in names})


def _lines_of_json(file: Path, text: str) -> list[Any]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise CommandError(f"{file}: line {number} is not JSON: {error}", exits.INVALID) from error
    return found


def _open_inference(file: Path, document: dict[str, Any]) -> Whole:
    """Read the body of a request of the Open Inference REST API."""
    inputs: dict[str, Any] = {}
    for place, one in enumerate(document["inputs"]):
        where = f"{file}: inputs[{place}]"
        if not isinstance(one, dict) or not isinstance(one.get("name"), str) or "data" not in one:
            raise CommandError(f"{where}: expected name, datatype, shape and data", exits.INVALID)
        if one["name"] in inputs:
            raise CommandError(f"{where}: {one['name']!r} stands twice", exits.INVALID)
        inputs[one["name"]] = _shaped(where, one)
    outputs = document.get("outputs") or []
    if not isinstance(outputs, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in outputs
    ):
        raise CommandError(f"{file}: outputs: expected a list of {{name: ...}}", exits.INVALID)
    return Whole(inputs, tuple(one["name"] for one in outputs))


def _shaped(where: str, tensor: dict[str, Any]) -> Any:
    import numpy as np

    from turnout_server.vocabulary.signature import DType
    from turnout_server.vocabulary.tensors import NUMPY_DTYPES

    try:
        stated = tensor.get("datatype")
        dtype = None if stated is None else DType(stated)
        # NumPy has no BF16; the gateway narrows what the model wants narrower.
        array = np.array(tensor["data"], "f4" if dtype is DType.BF16 else dtype and NUMPY_DTYPES[dtype])
        return array.reshape(tensor["shape"]) if "shape" in tensor else array
    except (TypeError, ValueError, OverflowError) as error:
        raise CommandError(f"{where}: {error}", exits.INVALID) from error


# ---------------------------------------------------------------- tables


def _looks_like_csv(text: str) -> bool:
    first = text.lstrip().partition("\n")[0]
    return not first.startswith(("{", "[", '"')) and ("," in first or "\t" in first)


def _csv(file: Path, text: str, delimiter: str) -> Table:
    try:
        reader = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), delimiter=delimiter, strict=True)
        found = [(reader.line_num, line) for line in reader]
    except csv.Error as error:
        raise CommandError(f"{file}: not CSV: {error}", exits.INVALID) from error
    while found and not found[0][1]:
        del found[0]
    if not found:
        raise CommandError(f"{file}: is empty; expected a line of names, then rows", exits.INVALID)
    (_, head), *rest = found
    # Of one column an empty line is a row whose value is missing; of several it is nothing.
    rows = [(number, line or [""]) for number, line in rest if line or len(head) == 1]
    names = [name.strip() for name in head]
    for place, name in enumerate(names):
        if not name or name in names[:place]:
            problem = f"{name!r} stands twice" if name else f"column {place} has no name"
            raise CommandError(f"{file}: {problem}", exits.INVALID)
    for row, (number, line) in enumerate(rows):
        if len(line) != len(names):
            problem = f"row {row} (line {number}) has {len(line)} values for {len(names)} columns"
            raise CommandError(f"{file}: {problem}", exits.INVALID)
    columns = {name: [line[place] for _, line in rows] for place, name in enumerate(names)}
    return Table(columns, is_text=True, lines=tuple(number for number, _ in rows))


def _parquet(file: Path) -> dict[str, list[Any]]:
    """Read a Parquet file with DuckDB, else with pyarrow."""
    file.open("rb").close()  # its own error says more than DuckDB's
    try:
        import duckdb
    except ModuleNotFoundError:
        return _with_pyarrow(file)
    try:
        config: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        with duckdb.connect(":memory:", config=config) as database:
            found = database.execute("SELECT * FROM read_parquet(?)", [glob.escape(str(file))])
            names = [column[0] for column in found.description or ()]
            rows = found.fetchall()
    except duckdb.Error as error:
        raise CommandError(f"{file}: {str(error).splitlines()[0]}", exits.INVALID) from error
    return {name: [_plain(row[place]) for row in rows] for place, name in enumerate(names)}


def _with_pyarrow(file: Path) -> dict[str, list[Any]]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError:
        raise CommandError(
            f"{file}: Parquet is read with DuckDB, which `pip install 'turnout[server]'` brings, or pyarrow",
            exits.UNAVAILABLE,
        ) from None
    try:
        table = parquet.read_table(file).to_pydict()
    except (ArrowException, ValueError) as error:
        raise CommandError(f"{file}: {str(error).splitlines()[0]}", exits.INVALID) from error
    return {name: list(map(_plain, values)) for name, values in table.items()}


def _plain(value: Any) -> Any:
    """Return a database's exact numbers as floats, which is what models take."""
    return float(value) if isinstance(value, decimal.Decimal) else value


# ---------------------------------------------------------------- NumPy


def _numpy(file: Path) -> Whole:
    import numpy as np

    try:
        with file.open("rb") as stream:
            found = np.load(stream, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return Whole({"": found})
            return Whole({name: found[name] for name in found.files})
    except OSError:
        raise
    except Exception as error:  # zip's, NumPy's and EOF's own
        raise CommandError(f"{file}: {error}", exits.INVALID) from error
