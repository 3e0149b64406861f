"""`turnout routes check`, `show` and `apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from turnout_server.cli import exits, options, output, table
from turnout_server.cli.exits import CommandError
from turnout_server.routing.table import EMPTY, RouteTable
from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import InvalidRouteTableError

routes = typer.Typer(help="Check, show and apply route tables.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The route table; - is stdin.")]


@routes.command()
def check(
    file: File,
    store: Annotated[
        Path | None,
        typer.Option("--store", "-s", metavar="DIR", help="Check, too, that this store has all it refers to."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Check a route table; say the place of the first mistake."""
    parsed = _parsed(file, options.read_text(file), options.opened(store) if store is not None else None)
    targets = sum(len(one.route.targets) for one in parsed)
    if json:
        output.json({"ok": True, "routes": [one.name for one in parsed], "targets": targets, "digest": parsed.digest})
    else:
        output.say(f"{file}: in order: {len(parsed)} routes, {targets} targets")


@routes.command()
def show(
    store: options.Store = options.DEFAULT_STORE,
    target: options.InsteadOfStore = None,
    timeout: options.Timeout = 10.0,
    json: options.Json = False,
) -> None:
    """Show the routes of a store, or those that a gateway serves."""
    problem = ""
    if target is None:
        directory = options.opened(store)
        text = directory.routes_text()
        try:
            parsed = parse(text) if text is not None else EMPTY
        except InvalidRouteTableError as error:
            raise CommandError(f"{store}/routes.yaml: {error.message}", exits.INVALID) from error
        listed = table.from_table(parsed, table.names_in(directory, parsed))
        digest = parsed.digest
    else:
        with options.connected(target, timeout=timeout) as client:
            served = client.routes()
        listed, digest, problem = table.from_gateway(served), served.digest, served.problem
    if json:
        output.json({"digest": digest, "problem": problem, "routes": listed})
        return
    if listed:
        table.show(listed)
    else:
        output.note("no routes")
    if problem:
        output.note(f"the store's table is not the one being served: {problem}")


@routes.command()
def apply(
    file: File,
    store: options.Store = options.DEFAULT_STORE,
    target: options.InsteadOfStore = None,
    expect_digest: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256",
            help="Replace only the table with this digest; by default the one that the changes are shown for.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the changes and check the table; change nothing.")
    ] = False,
    timeout: options.Timeout = 10.0,
    json: options.Json = False,
) -> None:
    """Replace the route table of a store, or through a gateway; say first what that changes."""
    text = options.read_text(file)
    if target is None:
        before, after, digest = _apply_to_store(file, text, options.opened(store), expect_digest, dry_run)
    else:
        new = table.from_table(_parsed(file, text, None))
        with options.connected(target, timeout=timeout) as client:
            served = client.routes()
            before, after = table.from_gateway(served), new
            expected = served.digest if expect_digest is None else expect_digest
            # A gateway whose table is not the store's cannot say what would be replaced.
            if expect_digest is None and served.problem:
                output.note(f"note: the store's present table is not being served: {served.problem}")
                expected = ""
            digest = client.apply_routes(text, expected_digest=expected, validate_only=dry_run)
    changed = table.changes(before, after)
    if json:
        output.json({"changes": changed, "digest": digest, "applied": not dry_run})
        return
    for line in changed or ["no changes"]:
        output.say(output.plain(line))
    output.note(f"{'checked' if dry_run else 'applied'}: {digest}")


def _apply_to_store(
    file: Path, text: str, directory: DirectoryStore, expect_digest: str | None, dry_run: bool
) -> tuple[list[table.Listed], list[table.Listed], str]:
    snapshot = directory.snapshot()
    parsed = _parsed(file, text, directory)
    try:
        old = parse(snapshot.routes_text) if snapshot.routes_text is not None else EMPTY
    except InvalidRouteTableError as error:
        output.note(f"note: the present table is wrong: {error.message}")
        old = EMPTY
    expected = snapshot.routes_digest if expect_digest is None else expect_digest or None
    if not dry_run:
        directory.write_routes(text, expected, options.by("routes apply"))
    elif expect_digest is not None and expected != snapshot.routes_digest:
        raise CommandError("the route table was changed since it was read; read it again", exits.CONFLICT)
    return table.from_table(old), table.from_table(parsed), parsed.digest


def _parsed(file: Path, text: str, store: DirectoryStore | None) -> RouteTable:
    """Read a table, and with a *store* check what it refers to; errors name the file."""
    snapshot = store.snapshot() if store is not None else None
    try:
        parsed = parse(text)
        if store is not None and snapshot is not None:
            from turnout_server.gateway.reconciler import check_references

            check_references(parsed, store, snapshot)
    except InvalidRouteTableError as error:
        raise CommandError(f"{file}: {error.message}", exits.INVALID) from error
    return parsed
