"""`turnout routes check`, `show`, `apply` and `set`; the others are in `past_routes`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from turnout_server.cli import exits, options, output, past_routes, table
from turnout_server.cli.exits import CommandError
from turnout_server.routing.changes import Listed, changes, listed, moves
from turnout_server.routing.edit import Wanted, weights_for, with_weights
from turnout_server.routing.route import Route
from turnout_server.routing.table import EMPTY, numbered
from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import InvalidRouteTableError, TurnoutError

routes = typer.Typer(help="Check, show and change route tables.", no_args_is_help=True)

SAMPLE = 10_000
"""Made-up units that `set` assigns before and after, to say how many move."""

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
    parsed = table.read(file, options.read_text(file), options.opened(store) if store is not None else None)
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
        laid = table.laid(directory, parsed)
        rows = listed(laid.table, table.names_in(directory, laid.table), laid.left_out)
        digest = parsed.digest
    else:
        with options.connected(target, timeout=timeout) as client:
            served = client.routes()
        rows, digest, problem = table.from_gateway(served), served.digest, served.problem
    if json:
        output.json({"digest": digest, "problem": problem, "routes": rows})
        return
    if rows:
        table.show(rows)
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
        new = listed(table.read(file, text, None))
        with options.connected(target, timeout=timeout) as client:
            served = client.routes()
            before, after = table.plain(table.from_gateway(served)), new
            expected = served.digest if expect_digest is None else expect_digest
            # A gateway whose table is not the store's cannot say what would be replaced.
            if expect_digest is None and served.problem:
                output.note(f"note: the store's present table is not being served: {served.problem}")
                expected = ""
            digest = client.apply_routes(text, expected_digest=expected, validate_only=dry_run)
    changed = changes(before, after)
    if json:
        output.json({"changes": changed, "digest": digest, "applied": not dry_run})
        return
    for line in changed or ["no changes"]:
        output.say(output.plain(line))
    output.note(f"{'checked' if dry_run else 'applied'}: {digest}")


def _apply_to_store(
    file: Path, text: str, directory: DirectoryStore, expect_digest: str | None, dry_run: bool
) -> tuple[list[Listed], list[Listed], str]:
    snapshot = directory.snapshot()
    parsed = table.read(file, text, directory)
    try:
        old = parse(snapshot.routes_text) if snapshot.routes_text is not None else EMPTY
    except InvalidRouteTableError as error:
        output.note(f"note: the present table is wrong: {error.message}")
        old = EMPTY
    expected = snapshot.routes_digest if expect_digest is None else expect_digest or None
    if not dry_run:
        directory.write_routes(text, expected, options.by("routes apply"), numbered(parsed))
    elif expect_digest is not None and expected != snapshot.routes_digest:
        raise CommandError("the route table was changed since it was read; read it again", exits.CONFLICT)
    for note in table.left_behind(directory, old, parsed):
        output.note(note)
    return listed(old), listed(parsed), parsed.digest


@routes.command("set")
def set_weights(
    route: options.RouteArgument,
    weights: Annotated[
        list[str],
        typer.Argument(metavar="TARGET=WEIGHT...", help="canary=25 is a weight; canary=25% a share of the traffic."),
    ],
    store: options.Store = options.DEFAULT_STORE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the changes and whom they move; change nothing.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Give targets of a route other weights, and leave all else in the store's table as it is, comments too.

    Of percentages the targets that are not named share the rest, as they did before.
    """
    wanted = {name: _wanted(name, value) for name, value in options.pairs(weights, "TARGET=WEIGHT").items()}
    directory = options.opened(store)
    snapshot = directory.snapshot()
    place = store / "routes.yaml"
    if snapshot.routes_text is None:
        raise CommandError(f"{place}: {snapshot.routes_problem or 'there is no route table'}", exits.NOT_FOUND)
    old = table.read(place, snapshot.routes_text, None)
    before = old.require(route)
    try:
        new = weights_for(route, before.route, wanted)
        text = with_weights(snapshot.routes_text, route, new)
    except InvalidRouteTableError as error:
        raise CommandError(f"{place}: {error.message}", exits.INVALID) from error
    parsed = table.read(place, text, directory)
    after = parsed.require(route)
    said = changes(listed(old), listed(parsed))
    moved = moves(before, after, map(str, range(SAMPLE)))
    if not dry_run:
        directory.write_routes(text, snapshot.routes_digest, options.by("routes set"), numbered(parsed))
    running = _running(directory, route) if said else None
    if json:
        shares = [{"from": pair[0], "to": pair[1], "share": count / SAMPLE} for pair, count in moved.items()]
        output.json(
            {
                "changes": said,
                "moves": shares,
                "digest": parsed.digest,
                "applied": not dry_run,
                "begins_epoch_of": running,
            }
        )
        return
    for line in said or ["no changes"]:
        output.say(output.plain(line))
    for (one, other), count in moved.items():
        output.say(f"  {output.percent(count / SAMPLE)} of units move: {one} -> {other}")
    for note in table.left_behind(directory, old, parsed):
        output.note(note)
    if remark := _remark(before.route, after.route, wanted):
        output.note(remark)
    if running is not None:
        epoch = "begin a new epoch, compared by itself" if dry_run else "have begun a new epoch, compared by itself"
        output.note(f"note: experiment {running!r} is running on this route; the new weights {epoch}")
    output.note(f"{'checked' if dry_run else 'applied'}: {parsed.digest}")


def _running(directory: DirectoryStore, route: str) -> str | None:
    """Return the experiment that was started on *route* and not stopped; None where none is, or nobody can tell."""
    if not directory.blobs.list("experiments"):
        return None  # what follows imports much
    from turnout_server.experiments.started import Ledger

    ledger = Ledger(directory.blobs)
    for name in ledger.names():
        with contextlib.suppress(TurnoutError):
            started, stopped = ledger.get(name)
            if started.experiment.route == route and stopped is None:
                return name
    return None


def _wanted(name: str, value: str) -> Wanted:
    is_share = value.endswith("%")
    text = value.removesuffix("%").strip()
    # What float() takes besides, as `nan`, `1_0` and `1e3`, is no weight that people mean.
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 20:
        raise typer.BadParameter(f"{name}: found {value!r}; expected a weight, as 25, or a share, as 25%")
    return Wanted(float(text) / 100 if is_share else float(text), is_share)


def _remark(before: Route, after: Route, wanted: dict[str, Wanted]) -> str:
    """Say that weights which came to 100 no longer do: somebody may have meant a percentage."""
    was, now = (sum(target.weight for target in route.targets) for route in (before, after))
    if was != 100 or now == 100 or any(one.is_share for one in wanted.values()):
        return ""
    name, one = next(iter(wanted.items()))
    return f"note: the weights came to 100 and now come to {now:.6g}; {name}={one.number:.6g}% sets the share itself"


routes.command()(past_routes.history)
routes.command()(past_routes.diff)
routes.command()(past_routes.rollback)
