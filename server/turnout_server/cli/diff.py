"""`turnout diff`: what answers would change if another version gave them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from turnout_server.cli import any_call, data_file, exits, options, output, results
from turnout_server.cli.exits import CommandError
from turnout_server.cli.known_inputs import KnownInputs
from turnout_server.store.store import DirectoryStore

if TYPE_CHECKING:
    import turnout
    from turnout_server.vocabulary.tensors import Arrays

MOST_ROWS = 10_000
"""Rows of one file: what one request may have."""


class Side(NamedTuple):
    """One version's answers."""

    name: str
    """`price 2`."""
    task: str
    answers: Arrays
    rows: int
    """How many the request had; 0 where it had none of its own."""


def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="MODEL@VERSION or MODEL@LABEL: price@champion.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The version that would answer in its place.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="FILE", help="Requests' rows: JSON, CSV, Parquet, NPZ; - is stdin.")
    ],
    worst: Annotated[int, typer.Option("--worst", min=0, max=1000, metavar="N", help="Show so many rows.")] = 5,
    store: options.Store = options.DEFAULT_STORE,
    target: options.InsteadOfStore = None,
    timeout: options.Timeout = 10.0,
    json: options.Json = False,
) -> None:
    """Say what answers would change if version B gave them and not A: on the rows of a file, row by row.

    Both versions are loaded from the store and run here; with --target a gateway is asked. Exits with 0 whatever
    differs.
    """
    from turnout_server.tasks.differences import differences, figures, outputs
    from turnout_server.tasks.differences import worst as worst_of

    contents = data_file.read(data)
    with _at_gateway(target, timeout) if target is not None else _in_store(options.opened(store)) as answers:
        ours, theirs = (answers(*_named(each), contents, str(data)) for each in (one, other))
    if ours.task != theirs.task:
        raise CommandError(f"{ours.name} does {ours.task}, {theirs.name} does {theirs.task}", exits.INVALID)
    found = differences(ours.task, ours.answers, theirs.answers, ours.rows)
    shown = worst_of(found, worst)
    rows = [_row(each.row, each.comparison, ours, theirs) for each in shown]
    measures, apart = figures(found), outputs(ours.answers, theirs.answers)
    if json:
        output.json(
            {"a": ours.name, "b": theirs.name, "task": ours.task, "rows": ours.rows, "measures": measures}
            | {"outputs": apart, "worst": rows}
        )
        return
    what = f"{int(measures['compared'])} rows" if found[0].row is not None else f"one answer to {ours.rows} rows"
    results.say(f"{ours.name} -> {theirs.name}, {what}: {int(measures['differ'])} differ")
    _show(measures, apart, rows)


def _show(measures: Mapping[str, float], apart: Mapping[str, Mapping[str, float]], rows: list[dict[str, Any]]) -> None:
    shown = [
        (label, form(measures[name]))
        for name, label, form in (
            ("unlike", "other outputs, shapes or dtypes", output.number),
            ("overlap_mean", "overlap, mean", output.number),
            ("tau_mean", "Kendall's tau, mean", output.number),
            ("top1_agreement", "same first item", output.percent),
            ("delta_mean", "price, mean difference", _signed),
            ("delta_p50", "price, p50", _signed),
            ("delta_most", "price, greatest", output.percent),
            ("absolute_most", "greatest absolute difference", output.number),
            ("relative_most", "greatest relative difference", output.percent),
            ("nans", "NaN in one answer only", output.number),
        )
        if name in measures and (name not in ("unlike", "nans") or measures[name])
    ]
    if shown:
        output.say()
        results.show(("measure", "value"), shown, right=("value",))
    if apart:
        output.say()
        columns = ("output", "mean of A", "of B", "apart, mean", "p95", "most")
        cells = [(name, *map(output.number, each.values())) for name, each in apart.items()]
        results.show(columns, cells, right=columns[1:])
    if rows:
        output.say()
        results.say("what differs most:" if rows[0]["row"] is None else "the rows that differ most:")
        names = dict.fromkeys(name for row in rows for name in row["a"])
        columns = ("row", *names)
        cells = [(row["row"], *(_both(row["a"].get(name), row["b"].get(name)) for name in names)) for row in rows]
        results.show(columns, cells)


def _row(row: int | None, comparison: Any, ours: Side, theirs: Side) -> dict[str, Any]:
    """Return one row's answers on both sides; of a whole answer, all of it."""
    sides = [
        {name: (each if row is None else each[row]).tolist() for name, each in side.answers.items()}
        for side in (ours, theirs)
    ]
    measured = {name: value for name, value in comparison._asdict().items() if value not in (None, "")}
    return {"row": row, "a": sides[0], "b": sides[1], "measures": measured}


def _both(one: Any, other: Any) -> str:
    ours, theirs = (results.cell(_few(each)) for each in (one, other))
    return ours if ours == theirs else f"{ours} -> {theirs}"


def _few(values: Any, most: int = 3) -> Any:
    if not isinstance(values, list):
        return values
    if len(values) == 1:
        return _few(values[0])
    few = ", ".join(str(results.cell(each)) for each in values[:most])
    return f"{few} and {len(values) - most} more" if len(values) > most else few


def _signed(share: float) -> str:
    return f"{share * 100:+.4g} %"


def _named(text: str) -> tuple[str, str]:
    """Return `price@champion` as a model, and a version or label; empty for none.

    Raises:
        typer.BadParameter: it names no model.
    """
    model, _, selector = text.partition("@")
    if not model:
        raise typer.BadParameter(f"found {text!r}; expected MODEL@VERSION or MODEL@LABEL, such as price@champion")
    return model, selector


# ---------------------------------------------------------------- who answers


@contextlib.contextmanager
def _at_gateway(target: str, timeout: float) -> Iterator[Any]:
    """Lend what asks a gateway."""
    with options.connected(target, timeout=timeout) as client:

        def answers(model: str, selector: str, contents: data_file.Contents, place: str) -> Side:
            described = client.describe(model, version=options.selector(selector) if selector else None)
            known = KnownInputs.of(described)
            request = any_call.request(known, contents, {}, place)
            # Pinned, as what A and B are must not change between two calls.
            found = client.infer(model, request.features, tensors=request.whole, version=described.version)
            rows = _rows(request.given)
            return Side(f"{model} {described.version}", described.task, dict(found), rows)

        yield answers


@contextlib.contextmanager
def _in_store(directory: DirectoryStore) -> Iterator[Any]:
    """Lend what loads versions from a store and runs them here, by the code that a gateway's answers come from."""
    import turnout
    from turnout import calls
    from turnout_server.onnx.extensions import library_for
    from turnout_server.onnx.loader import binding, open_servable
    from turnout_server.rpc.turnout_v1.inference import copied
    from turnout_server.store.local import LocalFiles
    from turnout_server.store.manifest import MODEL_FILE

    with contextlib.closing(LocalFiles(directory)) as local:

        def answers(model: str, selector: str, contents: data_file.Contents, place: str) -> Side:
            version = _version(directory, model, selector)
            manifest, folder = local.verified(model, version)
            known = KnownInputs.of(turnout.Version(version, manifest.task, "", inputs=tuple(_inputs(manifest))))
            request = any_call.request(known, contents, {}, place)
            try:
                sent = calls.infer(
                    model, request.features, tensors=request.whole, unit="", version=None, outputs=None
                ).request
            except (TypeError, ValueError) as error:
                raise CommandError(f"{place}: {error}", exits.INVALID) from error
            arrays = copied(sent.SerializeToString())(manifest.signature)
            servable = open_servable(folder, manifest, binding(), library_for(folder / MODEL_FILE, allowed=True))
            with contextlib.closing(servable):
                found = dict(zip(servable.output_names, servable.run(arrays), strict=True))
            return Side(f"{model} {version}", manifest.task, found, _rows(request.given))

        yield answers


def _version(directory: DirectoryStore, model: str, selector: str) -> int:
    """Return the version that is meant; without a word that is `champion`, else the newest.

    Raises:
        CommandError: there is none.
    """
    versions, labels = directory.versions(model), directory.labels(model)
    if not selector:
        return labels.get("champion", versions[-1])
    wanted = options.selector(selector)
    version = wanted if isinstance(wanted, int) else labels.get(wanted)
    if version not in versions:
        there = ", ".join([*sorted(labels), *map(str, versions)])
        raise CommandError(f"{model} has no version or label {selector!r}; it has {there}", exits.NOT_FOUND)
    return version


def _inputs(manifest: Any) -> Iterator[turnout.Tensor]:
    import turnout

    for spec in manifest.signature.inputs:
        yield turnout.Tensor(
            spec.name,
            spec.dtype,
            tuple(spec.shape),
            tuple(column.name for column in spec.columns),
            spec.default,
            {column.name: column.default for column in spec.columns if column.default is not None},
        )


def _rows(given: Mapping[str, Any]) -> int:
    """Return how many rows a request has, by its longest column.

    Raises:
        CommandError: there are too many.
    """
    rows = max(
        (len(each) for each in given.values() if not isinstance(each, str) and hasattr(each, "__len__")), default=1
    )
    if rows > MOST_ROWS:
        raise CommandError(f"the file has {rows} rows; at most {MOST_ROWS} are compared at once", exits.INVALID)
    return rows
