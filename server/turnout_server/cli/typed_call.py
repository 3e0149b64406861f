"""The calls of `turnout call` that a task has its own service for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from turnout_server.cli import output
from turnout_server.cli.data_file import Contents, Table
from turnout_server.cli.known_inputs import KnownInputs

if TYPE_CHECKING:
    import turnout

KEYS: Mapping[str, tuple[str, ...]] = {
    "price": ("features", "rows"),
    "ranking": ("candidates", "context", "k"),
    "recommendation": ("history", "exclude", "k"),
}
"""What a request of each task consists of: the keys that --data may have."""
ID = "id"
"""The column that has a table's candidates' ids; without it they are numbered."""

Answer = Any
"""The client's `Prices`, `Ranking` or `Recommendations`."""


class Common(NamedTuple):
    """What every call takes."""

    unit: str
    version: int | str | None
    metadata: dict[str, str]


def fitting(task: str, contents: Contents, known: KnownInputs, place: str) -> dict[str, Any] | None:
    """Return the request of *task* that a file has; None where it has something else, such as tensors.

    Raises:
        CommandError: it is a table with columns that the model does not know, or cells that are no numbers.
    """
    if isinstance(contents, dict):
        if contents.keys() <= {key for keys in KEYS.values() for key in keys}:
            return contents
        is_row = task == "price" and not any(isinstance(value, list | dict) for value in contents.values())
        return {"rows": [contents]} if is_row else None
    if not isinstance(contents, Table) or task == "recommendation":
        return None
    columns = dict(contents.columns)
    ids = columns.pop(ID, None) if task == "ranking" and ID not in known.features else None
    known.check(columns, "--drop leaves a column out")
    if contents.is_text:
        columns = {name: known.cells(name, values, place, contents.lines) for name, values in columns.items()}
    count = len(next(iter(contents.columns.values()), ()))
    rows = [{name: values[row] for name, values in columns.items()} for row in range(count)]
    if task == "price":
        return {"rows": rows}
    names = [str(row) for row in range(count)] if ids is None else list(map(str, ids))
    if len(set(names)) < count:
        raise typer.BadParameter(f"{place}: an {ID} stands twice")
    return {"candidates": dict(zip(names, rows, strict=True))}


def send(client: turnout.Client, task: str, name: str, request: dict[str, Any], common: Common) -> Answer:
    """Send a request of *task*.

    Raises:
        typer.BadParameter: it has a part that the task does not take, or lacks one that it needs.
    """
    for part in request:
        if part not in KEYS[task]:
            raise typer.BadParameter(
                f"{part}: {name!r} does {task}, which takes {', '.join(KEYS[task])}; --plain passes over that"
            )
    return _SENDERS[task](client, name, request, common)


def given(task: str, request: dict[str, Any]) -> dict[str, Any]:
    """Return what a request says of each feature, in a list."""
    found: dict[str, Any] = {}
    rows = request.get("candidates", {}).values() if task == "ranking" else request.get("rows") or [{}]
    for row in [*rows, request.get("context") or {}, request.get("features") or {}]:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return found


def _price(client: turnout.Client, route: str, request: dict[str, Any], common: Common) -> turnout.Prices:
    rows = request.get("rows") or [{}]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise typer.BadParameter("rows: expected a list of objects")
    features = request.get("features", {})
    if not isinstance(features, dict):
        raise typer.BadParameter("features: expected an object")
    merged = [{**row, **one} for row in rows for one in _spread(features)]
    return client.predict_prices(route, merged, **common._asdict())


def _spread(features: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row, or where features have lists, one for each of their values.

    Raises:
        typer.BadParameter: the lists differ in length.
    """
    lists = {name: values for name, values in features.items() if isinstance(values, list)}
    if not lists:
        return [features]
    counts = {name: len(values) for name, values in lists.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise typer.BadParameter(f"--feature: lists differ in length: {found}")
    (count,) = set(counts.values())
    return [{**features, **{name: values[row] for name, values in lists.items()}} for row in range(count)]


def _ranking(client: turnout.Client, route: str, request: dict[str, Any], common: Common) -> turnout.Ranking:
    candidates = request.get("candidates")
    if not isinstance(candidates, dict):
        raise typer.BadParameter("candidates: a ranking needs --candidate ID:NAME=VALUE,... at least once")
    return client.rank(route, candidates, context=request.get("context"), k=request.get("k"), **common._asdict())


def _recommendation(
    client: turnout.Client, route: str, request: dict[str, Any], common: Common
) -> turnout.Recommendations:
    history, exclude = (list(map(str, request.get(name) or [])) for name in ("history", "exclude"))
    return client.recommend(route, history, exclude=exclude, k=request.get("k") or 10, **common._asdict())


_SENDERS: Mapping[str, Callable[[turnout.Client, str, dict[str, Any], Common], Any]] = {
    "price": _price,
    "ranking": _ranking,
    "recommendation": _recommendation,
}


def show(answer: Answer) -> None:
    """Print an answer as a table."""
    import turnout

    match answer:
        case turnout.Prices(prices=prices):
            rows = [(number, *map(output.number, (one.price, one.low, one.high))) for number, one in enumerate(prices)]
            columns = ("row", "price", "low", "high") if len(rows) > 1 else ("price", "low", "high")
            output.table(columns, [row[-len(columns) :] for row in rows], right=columns)
        case turnout.Ranking(candidates=candidates):
            ranked = [(rank, one.id, output.number(one.score)) for rank, one in enumerate(candidates, 1)]
            output.table(("rank", "candidate", "score"), ranked, right=("rank", "score"))
        case turnout.Recommendations(items=items):
            found = [(rank, one.id, output.number(one.score)) for rank, one in enumerate(items, 1)]
            output.table(("rank", "item", "score"), found, right=("rank", "score"))
