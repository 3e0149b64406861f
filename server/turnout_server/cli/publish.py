"""`turnout publish`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import yaml

from turnout_server.cli import exits, options, output
from turnout_server.cli.complete import models
from turnout_server.cli.exits import CommandError
from turnout_server.cli.sourcing import prepared, with_columns, with_origin
from turnout_server.config import NOT_YAML
from turnout_server.sources.sample import read_sample
from turnout_server.store.manifest import Batching, Lineage, Manifest, RuntimeOptions
from turnout_server.store.publish import Draft
from turnout_server.store.publish import publish as publish_draft
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.names import CHAMPION
from turnout_server.vocabulary.signature import MOST, Signature
from turnout_server.vocabulary.task import Task

_DECIDED_HERE = ("schema_version", "version", "created_at", "files")
"""What a manifest has and publishing decides itself, so that an earlier version's manifest can serve as a template."""


_PROPOSED = (
    "note: requests of more than {rows} rows would run for more than a second, by the first runs;"
    " --max-rows {rows} has them refused, else the gateway's limits.max_rows holds"
)


_MOVES = (
    "{model} has no label champion, so who asks for it by its name gets the newest version: that traffic moves"
    " from version {before} to version {now}; `turnout label {model} champion {before} --store {store}` keeps it"
)


class _Partial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `--manifest` may say."""

    model: str | None = None
    task: Task | None = None
    signature: dict[str, Any] = {}
    lineage: Lineage = Lineage()
    runtime: RuntimeOptions = RuntimeOptions()
    batching: Batching = Batching()
    owner: str = ""
    description: str = ""


def publish(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="An ONNX file; or what is converted: a model of LightGBM, XGBoost, scikit-learn or PyTorch, a "
            "TensorFlow SavedModel, an MLflow model's folder or models:/NAME@ALIAS.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="The model it is a version of.", autocompletion=models),
    ] = None,
    store: options.Store = options.DEFAULT_STORE,
    task: Annotated[
        Task | None, typer.Option(help="What it is for; tensors, unless the manifest says otherwise.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="A label to point at the new version; may be repeated.")
    ] = None,
    no_champion: Annotated[
        bool, typer.Option("--no-champion", help="Don't label a new model's first version champion.")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON or YAML with any of task, signature, lineage, runtime, batching, owner, description.",
        ),
    ] = None,
    batched: Annotated[
        bool | None,
        typer.Option("--batched/--no-batched", help="Whether rows are independent; guessed by default."),
    ] = None,
    max_rows: Annotated[
        int | None,
        typer.Option(min=1, max=MOST, metavar="N", help="Rows of one request at most; by default the gateway's."),
    ] = None,
    max_elements: Annotated[
        int | None,
        typer.Option(min=1, max=MOST, metavar="N", help="Elements of one request's inputs together; likewise."),
    ] = None,
    max_batch_rows: Annotated[
        int | None,
        typer.Option(min=1, max=1 << 20, metavar="N", help="Rows of a batch at most; by default the gateway's."),
    ] = None,
    max_batch_delay_us: Annotated[
        int | None,
        typer.Option(
            min=0, max=10_000_000, metavar="N", help="Microseconds that a request may wait for company; likewise."
        ),
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is.")] = None,
    extra: Annotated[
        list[Path] | None,
        typer.Option("--file", metavar="EXTRA", help="A further file to keep with it; may be repeated."),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Some rows of input, CSV or JSON: which columns there are, of which type."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Publish nothing that there is a warning about.")] = False,
    unpickle: Annotated[
        bool,
        typer.Option("--unpickle", help="Read a pickle or a PyTorch file, which runs whatever code is in it."),
    ] = False,
    convert_timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long fetching or converting SOURCE may take.")
    ] = 300.0,
    json: options.Json = False,
) -> None:
    """Publish a model as a new version, and print the version's number.

    The signature is read from the graph. The version is loaded and run on made-up inputs before it appears, and it
    appears whole or not at all. What is no ONNX file is converted first, by the library that is made for that.
    """
    partial = _read_partial(manifest) if manifest is not None else _Partial()
    name = model or partial.model
    if not name:
        raise typer.BadParameter("--model is missing, and no manifest names the model")
    rows = read_sample(sample) if sample is not None else None
    found = prepared(context, source, unpickle, {} if rows is None else rows.dtypes, convert_timeout)
    file = found.graph

    from turnout_server.cli import doubts
    from turnout_server.onnx.files import files_of
    from turnout_server.onnx.trial import load, look_at, rows_within
    from turnout_server.tasks.conventions import check_task
    from turnout_server.tasks.ranges import learned

    given = {"max_rows": max_batch_rows, "max_delay_us": max_batch_delay_us}
    given = {key: value for key, value in given.items() if value is not None}
    files = files_of(file)
    for one in extra or []:
        if one.name in files:
            raise typer.BadParameter(f"--file: {one.name!r} is already among the version's files")
        files[one.name] = one
    looked = look_at(file, batched)
    signature = _overlaid(with_columns(looked.signature, found), partial.signature, batched, manifest)
    if rows is not None:
        signature = learned(signature, rows.columns)
    draft = Draft(
        model=name,
        task=task or partial.task or Task.TENSORS,
        signature=msgspec.structs.replace(
            signature,
            max_rows=signature.max_rows if max_rows is None else max_rows,
            max_elements=signature.max_elements if max_elements is None else max_elements,
        ),
        files=files,
        lineage=with_origin(partial.lineage, found),
        runtime=partial.runtime,
        batching=msgspec.structs.replace(partial.batching, **given) if given else partial.batching,
        owner=partial.owner if owner is None else owner,
        description=partial.description if description is None else description,
    )
    check_task(draft.task, draft.signature)
    inputs = doubts.inputs_of(rows, draft.signature) if rows is not None else None

    def verify(directory: Path, staged: Manifest) -> None:
        loaded = load(directory, staged)
        with contextlib.closing(loaded.servable) as servable:
            answers = servable.run(inputs) if inputs is not None else []
        odd = doubts.of_graph(staged.signature, looked.left_out) + doubts.of_rows(staged.signature, loaded.independent)
        if rows is not None:
            odd += doubts.of_answers(staged.signature, answers, rows.rows)
        odd += doubts.of_metrics(staged.lineage.metrics)
        if strict and before is not None and CHAMPION not in {*(label or []), *_labels(store, name)}:
            # Else it is said when the version has its number, which here is provisional.
            odd.append(_moves(before, staged, store))
        for one in odd:
            output.note(f"warning: {one}")
        if strict and odd:
            count = "a warning" if len(odd) == 1 else f"{len(odd)} warnings"
            raise CommandError(f"--strict: not published, for {count}", exits.INVALID)
        if staged.signature.max_rows is None and (fitting := rows_within(loaded.measured)) is not None:
            output.note(_PROPOSED.format(rows=fitting))

    before = _newest(store, name)
    total = sum(path.stat().st_size for path in files.values() if path.is_file())
    with output.progress(f"publishing {name}", total) as advance:
        published = publish_draft(
            store,
            draft,
            labels=label or [],
            champion=not no_champion,
            verify=verify,
            on_progress=advance,
            by=options.by("publish"),
        )
    _report(published, store, label or [], before, json)


def _report(published: Manifest, store: Path, given: Sequence[str], before: Manifest | None, json: bool) -> None:
    known = _labels(store, published.model)
    is_champion = known.get(CHAMPION) == published.version and CHAMPION not in given
    labels = [*given, CHAMPION] if is_champion else list(given)
    size = sum(entry.size for entry in published.files)
    if json:
        found = msgspec.to_builtins(published)
        output.json({**found, "labels": labels, "path": str(store), "size": size})
    else:
        output.say(str(published.version))
    count = f"{len(published.files)} file{'s' if len(published.files) > 1 else ''}, {output.size(size)}"
    named = f", {', '.join(labels)}" if labels else ""
    output.note(
        f"published {published.model} version {published.version} ({published.task}, {count}{named}) in {store}"
    )
    if before is not None and before.task != published.task:
        output.note(f"note: version {before.version} of {published.model} did {before.task}")
    if before is not None and CHAMPION not in known:
        output.note(f"warning: {_moves(before, published, store)}")


def _moves(before: Manifest, now: Manifest, store: Path) -> str:
    return _MOVES.format(model=now.model, before=before.version, now=now.version, store=store)


def _labels(store: Path, model: str) -> Mapping[str, int]:
    try:
        return DirectoryStore(store).labels(model)
    except TurnoutError:  # the version is there, whatever its labels are
        return {}


def _newest(store: Path, model: str) -> Manifest | None:
    try:
        directory = DirectoryStore(store)
        return directory.manifest(model, directory.versions(model)[-1])
    except TurnoutError:
        return None


def _read_partial(file: Path) -> _Partial:
    text = options.read_text(file)
    try:
        document = yaml.safe_load(text)
        if isinstance(document, dict):
            document = {key: value for key, value in document.items() if key not in _DECIDED_HERE}
        return msgspec.convert(document, _Partial)
    except (*NOT_YAML, msgspec.ValidationError) as error:
        raise CommandError(f"{file}: {error}", exits.INVALID) from error


def _overlaid(read: Signature, partial: dict[str, Any], batched: bool | None, file: Path | None) -> Signature:
    """Return the graph's signature with what the manifest says of its tensors, by name, laid over it."""
    document = msgspec.to_builtins(read)
    try:
        for key, value in partial.items():
            if key in ("inputs", "outputs"):
                document[key] = [*_overlaid_side(document[key], value, f"$.signature.{key}")]
            elif key != "batched" or batched is None:
                document[key] = value
        return msgspec.convert(document, Signature)
    except msgspec.ValidationError as error:
        raise CommandError(f"{file}: signature: {error}", exits.INVALID) from error


def _overlaid_side(read: Sequence[dict[str, Any]], given: Any, place: str) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in given
    ):
        raise msgspec.ValidationError(f"expected a list of objects that have a name - at `{place}`")
    by_name = {one["name"]: one for one in given}
    known = {one["name"] for one in read}
    for name in by_name:
        if name not in known:
            raise msgspec.ValidationError(
                f"the graph has no {name!r}; it has {', '.join(sorted(known))} - at `{place}`"
            )
    return [{**one, **by_name.get(one["name"], {})} for one in read]
