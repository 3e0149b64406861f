"""`turnout prune`: removes versions that nobody needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from turnout_server.cli import options, output, table
from turnout_server.cli.exits import CommandError
from turnout_server.routing import overlay
from turnout_server.routing.route import Mirror, Target
from turnout_server.routing.table import RouteTable
from turnout_server.store import prune as pruning
from turnout_server.store.blobs import Node
from turnout_server.store.layout import ROLLOUTS, ROUTES_AUDIT, ROUTES_KEY
from turnout_server.store.store import BlobStore, DirectoryStore
from turnout_server.vocabulary.errors import StoreError, TurnoutError


def prune(
    model: options.ModelArgument,
    keep: Annotated[int, typer.Option("--keep", min=1, metavar="N", help="Keep so many of the newest versions.")] = 3,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove them; without it nothing is removed.")] = False,
    routes: Annotated[
        list[Path] | None,
        typer.Option("--routes", metavar="FILE", help="Keep what this table names, too: a gateway's store.routes."),
    ] = None,
    store: options.Store = options.DEFAULT_STORE,
    json: options.Json = False,
) -> None:
    """Remove a model's old versions; never one that a label, a route, a rollout or an experiment names.

    Without --yes it only says what would go. Gateways that have a removed version loaded go on serving it.
    """
    directory = options.opened(store)
    # Files are read anew for each version, since anybody may edit them meanwhile; stdin can be read only once.
    said = {file: options.read_text(file) for file in routes or () if str(file) == "-"}

    def others() -> dict[str, RouteTable]:
        texts = {file: said[file] if file in said else options.read_text(file) for file in routes or ()}
        return {str(file): table.read(file, text, None) for file, text in texts.items()}

    found = pruning.plan(directory, model, keep, _routed(directory, model, others()))
    rows = [_row(directory, model, version, found) for version in sorted((*found.remove, *found.keep), reverse=True)]
    removed: list[int] = []
    spared: list[int] = []
    if yes:
        pruning.remove_leftovers(directory, model, partial(is_named, directory, model, others))
        by = options.by("prune")
        for version in found.remove:
            gone = pruning.remove(directory, model, version, by, partial(is_named, directory, model, others, version))
            if gone:
                removed.append(version)
            elif version in directory.versions(model):  # else somebody else has removed it
                spared.append(version)
    if json:
        output.json({"model": model, "versions": rows, "removed": removed, "applied": yes})
        return
    output.table(
        ("version", "created", "size", "what", "why"),
        [(row["version"], row["created"][:10], output.size(row["size"]), row["what"], row["why"]) for row in rows],
        right=("version", "size"),
    )
    for version in spared:
        output.note(f"note: version {version} was named by somebody meanwhile, and stays")
    freed = sum(row["size"] or 0 for row in rows if row["version"] in (removed if yes else found.remove))
    what = _versions(removed if yes else found.remove)
    if not found.remove:
        output.note("nothing to remove")
    elif yes:
        output.note(f"removed: {what}, {output.size(freed)}")
    else:
        output.note(f"nothing is removed yet; --yes removes {what}, {output.size(freed)}")


def is_named(directory: BlobStore, model: str, others: Callable[[], Mapping[str, RouteTable]], version: int) -> bool:
    """Say whether anything has come to name *version*, whose manifest is gone; whatever cannot be read may."""
    try:
        return bool(pruning.reasons(directory, model, (version,), _routed(directory, model, others()))[version])
    except (TurnoutError, CommandError):
        return True


def _routed(directory: BlobStore, model: str, others: Mapping[str, RouteTable]) -> dict[int, tuple[str, ...]]:
    """Return the versions of *model* that route tables name by number, and where; labels speak for themselves."""
    _check_rollouts(directory)
    # What is announced is read first: a table that is written in between is the present one then.
    announced = directory.audit.under_way(ROUTES_AUDIT, "routes", datetime.now(UTC))
    tables = [(" that is being written", raw.decode(errors="replace")) for raw in announced]
    present = directory.blobs.get(ROUTES_KEY)
    tables += [("", present.content.decode(errors="replace"))] if present is not None else []
    read = [(place, table.read(f"routes.yaml{place}", text, None)) for place, text in tables]
    found: dict[int, tuple[str, ...]] = {}
    for place, one in (*read, *((f" in {place}", one) for place, one in others.items())):
        for compiled in one:
            arms: list[Target | Mirror] = [*compiled.route.targets, *compiled.route.mirrors]
            for version in {arm.version for arm in arms if arm.model == model and isinstance(arm.version, int)}:
                where = f"route {compiled.name}{place}"
                found[version] = (*found.get(version, ()), where)
    return found


def _check_rollouts(directory: BlobStore) -> None:
    """See to it that everything in rollouts/ can be read: such as this release reads names no versions.

    Raises:
        StoreError, InvalidRouteTableError: something cannot be, so that nobody knows which versions it names.
    """
    for path, node in sorted(directory.blobs.walk(ROLLOUTS).items() if directory.blobs.list(ROLLOUTS) else ()):
        route = path.removesuffix(".json")
        blob = directory.blobs.get(f"{ROLLOUTS}/{path}") if node is Node.FILE and route != path else None
        if blob is None:
            raise StoreError(f"{ROLLOUTS}/{path} cannot be read, so that nobody knows which versions it names")
        overlay.parse(blob.content, route)


def _row(directory: DirectoryStore, model: str, version: int, found: pruning.Plan) -> dict[str, Any]:
    created, size = "", None
    try:
        manifest = directory.manifest(model, version)
        created, size = manifest.created_at, sum(entry.size for entry in manifest.files)
    except TurnoutError:
        pass  # A version that cannot be read can be removed all the same.
    why = found.keep.get(version)
    return {
        "version": version,
        "created": created,
        "size": size,
        "what": "keep" if why else "remove",
        "why": ", ".join(why or ()),
    }


def _versions(numbers: Sequence[int]) -> str:
    return f"version{'s' * (len(numbers) != 1)} {', '.join(map(str, numbers))}"
