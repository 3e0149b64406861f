"""The call of `turnout call` that any model takes: its inputs by name, and all its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from turnout_server.cli import exits, results
from turnout_server.cli.data_file import Contents, Table, Whole
from turnout_server.cli.exits import CommandError
from turnout_server.cli.known_inputs import KnownInputs

if TYPE_CHECKING:
    import turnout

_WIDE = 8
"""Values a row up to which each has a column of its own."""
_SHOWN = 3
"""Of longer ones, how many are shown."""


@dataclass(frozen=True, slots=True)
class Request:
    """The inputs of one call."""

    features: Mapping[str, Any]
    whole: Mapping[str, Any]
    outputs: tuple[str, ...] = ()

    @property
    def given(self) -> dict[str, Any]:
        """What it says of each feature and input."""
        return {**self.features, **self.whole}


def request(known: KnownInputs, contents: Contents, pairs: Mapping[str, str], place: str) -> Request:
    """Return the request that a file and options make together; options win.

    Args:
        known: what the model takes.
        contents: the file's; an empty dict for none.
        pairs: the options' values by name, as they were written.
        place: what the file is called in errors.

    Raises:
        CommandError, typer.BadParameter: a name is unknown, or a value is nothing that the model takes.
    """
    found = _of_contents(known, contents, place)
    known.check(pairs)
    features, whole = dict(found.features), dict(found.whole)
    for name, text in pairs.items():
        if name in known.whole:
            whole[name] = known.whole_value(name, text)
            features.pop(name, None)
        else:
            features[name] = known.value(name, text)
            whole.pop(name, None)
    return Request(features, whole, found.outputs)


def _of_contents(known: KnownInputs, contents: Contents, place: str) -> Request:
    if isinstance(contents, Whole):
        return _of_arrays(known, contents)
    if isinstance(contents, Table):
        known.check(contents.columns, "--drop leaves a column out")
        if not contents.is_text:
            return _divided(known, contents.columns)
        columns = contents.columns.items()
        return Request({name: known.cells(name, values, place, contents.lines) for name, values in columns}, {})
    if contents.keys() == {"rows"} and "rows" not in known.features and isinstance(contents["rows"], list):
        rows = contents["rows"]
        if not all(isinstance(row, dict) for row in rows):
            raise CommandError(f"{place}: rows: expected a list of objects", exits.INVALID)
        names = dict.fromkeys(name for row in rows for name in row)
        contents = {name: [row.get(name) for row in rows] for name in names}
    elif (
        contents.keys() == {"features"} and "features" not in known.features and isinstance(contents["features"], dict)
    ):
        contents = contents["features"]
    known.check(contents)
    return _divided(known, contents)


def _of_arrays(known: KnownInputs, contents: Whole) -> Request:
    arrays = dict(contents.inputs)
    if "" in arrays:  # an NPY file has one array, and no name for it
        names = list(known.whole) or list(known.features)
        if len(names) != 1:
            raise CommandError(f"the model takes {', '.join(names)}; an NPZ file has an array for each", exits.INVALID)
        arrays = {names[0]: arrays[""]}
    known.check(arrays)
    features = {name: array for name, array in arrays.items() if name not in known.whole and array.ndim < 2}
    whole = {name: array for name, array in arrays.items() if name not in features}
    return Request(features, whole, contents.outputs)


def _divided(known: KnownInputs, columns: Mapping[str, Any]) -> Request:
    """Tell features from whole inputs, by the model's signature."""
    whole = {name: known.fit(name, values) for name, values in columns.items() if name in known.whole}
    return Request({name: values for name, values in columns.items() if name not in whole}, whole)


# ---------------------------------------------------------------- answers


def document(answer: turnout.Inference) -> dict[str, Any]:
    """Return the outputs as JSON has values."""
    return {"outputs": {name: _plain(values) for name, values in answer.items()}}


def show(answer: turnout.Inference) -> None:
    """Print the outputs: those with as many rows as each other as one table, and others a line each."""
    plain = {name: _plain(values) for name, values in answer.items()}
    rows = {len(values) if isinstance(values, list) else -1 for values in plain.values()}
    if len(rows) == 1 and rows != {-1} and rows != {0}:
        columns: dict[str, list[Any]] = {}
        for name, values in plain.items():
            columns |= _columns(name, values)
        (count,) = rows
        table = [[values[row] for values in columns.values()] for row in range(count)]
        numbered = [[row, *cells] for row, cells in enumerate(table)]
        results.show(["row", *columns] if count > 1 else list(columns), numbered if count > 1 else table)
        return
    for name, values in plain.items():
        results.say(f"{name}: {_cell(values)}")


def _columns(name: str, values: list[Any]) -> dict[str, list[Any]]:
    """Return an output by columns."""
    wide = {len(row) if isinstance(row, list) else -1 for row in values}
    if len(wide) == 1 and wide != {-1}:
        (width,) = wide
        flat = not any(isinstance(cell, list) for row in values for cell in row[:1])
        if flat and width == 1:
            return {name: [row[0] for row in values]}
        if flat and width <= _WIDE:
            return {f"{name}_{place}": [row[place] for row in values] for place in range(width)}
    return {name: [_cell(row) if isinstance(row, list) else row for row in values]}


def _cell(value: Any) -> str:
    """Return a value on one line, a long list by its first few."""
    if not isinstance(value, list):
        return results.cell(value)
    shown = ", ".join(_cell(one) for one in value[: _SHOWN if len(value) > _WIDE else _WIDE])
    more = f", ... {len(value) - _SHOWN} more" if len(value) > _WIDE else ""
    return f"[{shown}{more}]"


def _plain(values: Any) -> Any:
    return values.tolist() if hasattr(values, "tolist") else values


def outputs_of(given: list[str] | None, found: tuple[str, ...]) -> list[str] | None:
    """Return the outputs that are wanted: the options', else the file's, else all."""
    if given is not None:
        wanted = [name.strip() for text in given for name in text.split(",")]
        if not all(wanted):
            raise typer.BadParameter("--output: found an empty name")
        return wanted
    return list(found) or None
