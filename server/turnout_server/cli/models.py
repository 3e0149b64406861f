"""`turnout models`, `turnout label` and `turnout verify`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from turnout_server.cli import complete, exits, options, output, past_labels
from turnout_server.cli.exits import CommandError
from turnout_server.store.store import UNSET, DirectoryStore, UnsetType
from turnout_server.vocabulary.errors import ModelNotFoundError, StoreError, TurnoutError, VersionNotFoundError
from turnout_server.vocabulary.versions import VersionKey

if TYPE_CHECKING:
    import turnout


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One version, as the store or a gateway tells of it."""

    model: str
    version: int
    task: str = ""
    labels: tuple[str, ...] = ()
    state: str = ""
    """A gateway's state of it; from a store, empty, SUSPENDED when the model was unloaded for every gateway, or BROKEN
    when the manifest cannot be read."""
    detail: str = ""
    created_at: str = ""
    size: int | None = None
    """Bytes; a gateway does not tell."""
    framework: str = ""
    metrics: Mapping[str, float] = {}
    owner: str = ""
    description: str = ""
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()


def models(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Show this one, with its signature.", autocompletion=complete.models),
    ] = None,
    store: options.Store = options.DEFAULT_STORE,
    target: options.InsteadOfStore = None,
    timeout: options.Timeout = 10.0,
    json: options.Json = False,
) -> None:
    """List models and their versions: in a store, or as a gateway serves them."""
    if target is None:
        directory = options.opened(store)
        unloaded = {name for name, one in directory.snapshot().models.items() if one.suspended}
        rows = [
            row
            for name in ([model] if model else directory.models())
            for row in _stored(directory, name, "SUSPENDED" if name in unloaded else "")
        ]
    else:
        with options.connected(target, timeout=timeout) as client:
            found = client.models() if model is None else (client.model(model),)
        rows = [row for one in found for row in _served(one)]
    if json:
        output.json(rows)
        return
    if not rows:
        output.note(f"no models in {store}" if target is None else f"no models at {target}")
        return
    output.table(
        ("model", "version", "task", "labels", "state", "created", "size", "framework", "metrics", "detail"),
        [
            (
                row.model,
                row.version,
                row.task,
                ", ".join(row.labels),
                row.state,
                row.created_at[:10],
                output.size(row.size),
                row.framework,
                output.named(row.metrics),
                row.detail,
            )
            for row in rows
        ],
        right=("version", "size"),
    )
    if model is not None:
        _signature(rows[0])


def _signature(row: Row) -> None:
    """Print what goes into the newest version, and what comes out."""
    output.say()
    if row.description:
        output.say(output.one_line(row.description))
    output.table(
        ("", "name", "dtype", "shape", "default", "columns"),
        [
            (
                side,
                spec["name"],
                spec["dtype"],
                list(spec["shape"]),
                spec.get("default"),
                ", ".join(column["name"] for column in spec.get("columns", ())),
            )
            for side, specs in (("in", row.inputs), ("out", row.outputs))
            for spec in specs
        ],
    )


def _stored(directory: DirectoryStore, model: str, state: str) -> Iterator[Row]:
    versions = directory.versions(model)
    try:
        labels = directory.labels(model)
    except StoreError as error:
        output.note(f"note: {error.message}")
        labels = {}
    for version in reversed(versions):
        named = tuple(sorted(label for label, number in labels.items() if number == version))
        try:
            manifest = directory.manifest(model, version)
        except TurnoutError as error:
            yield Row(model=model, version=version, labels=named, state="BROKEN", detail=error.message)
            continue
        signature = msgspec.to_builtins(manifest.signature)
        yield Row(
            model=model,
            version=version,
            task=manifest.task,
            labels=named,
            state=state,
            created_at=manifest.created_at,
            size=sum(entry.size for entry in manifest.files),
            framework=manifest.lineage.framework,
            metrics=manifest.lineage.metrics,
            owner=manifest.owner,
            description=manifest.description,
            inputs=tuple(signature["inputs"]),
            outputs=tuple(signature["outputs"]),
        )


def _served(model: turnout.Model) -> Iterator[Row]:
    for one in model.versions:
        yield Row(
            model=model.name,
            version=one.version,
            task=one.task,
            labels=tuple(sorted(label for label, number in model.labels.items() if number == one.version)),
            state=one.state,
            detail=one.state_detail,
            created_at=one.create_time.strftime("%Y-%m-%dT%H:%M:%SZ") if one.create_time else "",
            framework=one.framework,
            metrics=one.metrics,
            owner=one.owner,
            description=one.description,
            inputs=tuple(map(_tensor, one.inputs)),
            outputs=tuple(map(_tensor, one.outputs)),
        )


def _tensor(tensor: turnout.Tensor) -> dict[str, Any]:
    columns = {"columns": [{"name": name} for name in tensor.columns]} if tensor.columns else {}
    return {"name": tensor.name, "dtype": tensor.datatype, "shape": tensor.shape, **columns}


def label(
    model: options.ModelArgument,
    label: Annotated[
        str | None,
        typer.Argument(metavar="LABEL", help="The label, such as champion.", autocompletion=complete.labels),
    ] = None,
    version: Annotated[
        int | None,
        typer.Argument(metavar="VERSION", min=1, help="The version it shall name.", autocompletion=complete.versions),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the label.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Show who moved the model's labels, and when.")] = False,
    expect: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="VERSION", help="Change it only if it names this version now; 0: only if it is new."
        ),
    ] = None,
    store: options.Store = options.DEFAULT_STORE,
    target: options.InsteadOfStore = None,
    timeout: options.Timeout = 10.0,
    json: options.Json = False,
) -> None:
    """Point a label at a version, or remove it; or show who did so before."""
    if history:
        if delete or version is not None or target is not None:
            raise typer.BadParameter("--history shows what a store's audit knows, and changes nothing")
        past_labels.show(options.opened(store), model, label, json)
        return
    if label is None:
        raise typer.BadParameter("give a LABEL, or --history")
    if delete == (version is not None):
        raise typer.BadParameter("give either a VERSION or --delete")
    if target is None:
        expected: int | UnsetType | None = UNSET if expect is None else expect or None
        options.opened(store).set_label(model, label, version, expected, options.by("label"))
    else:
        with options.connected(target, timeout=timeout) as client:
            if version is None:
                client.remove_label(model, label, expected_version=expect)
            else:
                client.set_label(model, label, version, expected_version=expect)
    if json:
        output.json({"model": model, "label": label, "version": version})
    elif version is None:
        output.say(f"{model}: {label} is removed")
    else:
        output.say(f"{model}: {label} -> {version}")


def verify(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Check this model only.", autocompletion=complete.models),
    ] = None,
    version: Annotated[
        int | None,
        typer.Argument(metavar="VERSION", min=1, help="Check this version only.", autocompletion=complete.versions),
    ] = None,
    store: options.Store = options.DEFAULT_STORE,
    json: options.Json = False,
) -> None:
    """Compare every file in a store with the digest in its manifest; exit with 1 if any differs."""
    directory = options.opened(store)
    found = list(findings(directory, model, version))
    wrong = [one for one in found if one["problem"]]
    if json:
        output.json(found)
    else:
        output.table(
            ("model", "version", "files", "size", "result", "problem"),
            [
                (
                    one["model"],
                    one["version"],
                    one["files"],
                    output.size(one["size"]),
                    "fail" if one["problem"] else "ok",
                    one["problem"],
                )
                for one in found
            ],
            right=("version", "files", "size"),
        )
    if wrong:
        first = f"{VersionKey(wrong[0]['model'], wrong[0]['version'])}: {wrong[0]['problem']}"
        raise CommandError(f"{first} ({len(wrong)} of {len(found)} versions are wrong)", exits.FAILED)


def findings(
    directory: DirectoryStore, model: str | None = None, version: int | None = None
) -> Iterator[dict[str, Any]]:
    """Check versions one after the other, and yield for each what it is and its problem (None: it is in order).

    Raises:
        ModelNotFoundError, VersionNotFoundError: what was asked for is not there.
        StoreError: the store cannot be read.
    """
    names = [model] if model is not None else directory.models()
    keys = [(name, number) for name in names for number in directory.versions(name)]
    if version is not None:
        keys = [(name, number) for name, number in keys if number == version]
        if not keys:
            raise VersionNotFoundError(model or "", version)
    sizes = {key: _size(directory, *key) for key in keys}
    with output.progress("verifying", sum(size or 0 for size in sizes.values())) as advance:
        for name, number in keys:
            size = sizes[name, number]
            row: dict[str, Any] = {"model": name, "version": number, "files": None, "size": size, "problem": None}
            try:
                row["files"] = len(directory.verify(name, number).files)
            except (ModelNotFoundError, VersionNotFoundError):
                continue  # Deleted meanwhile.
            except TurnoutError as error:
                row["problem"] = VersionKey(name, number).without_name(error.message)
            advance(size or 0)
            yield row


def _size(directory: DirectoryStore, model: str, version: int) -> int | None:
    try:
        return sum(entry.size for entry in directory.manifest(model, version).files)
    except TurnoutError:
        return None
