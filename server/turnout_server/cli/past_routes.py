"""`turnout routes history`, `diff` and `rollback`: what a store's audit knows of its route tables."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

import typer

from turnout_server.cli import exits, options, output, table
from turnout_server.cli.exits import CommandError
from turnout_server.routing.changes import Listed, changes, listed
from turnout_server.routing.table import numbered
from turnout_server.routing.text import parse
from turnout_server.store.audit import Change
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import InvalidRouteTableError

MOST_LINES = 8
"""Lines that `history` shows of one change; `diff` shows all."""
_LEAST_DIGITS = 4
NOW = "now"

Before = Annotated[
    str | None, typer.Argument(metavar="A", help="A digest's first digits; by default the one before B.")
]
After = Annotated[str, typer.Argument(metavar="B", help="Likewise; by default the present table.")]


def history(
    most: Annotated[int, typer.Option("--most", "-n", min=1, max=1000, help="Show so many changes.")] = 10,
    store: options.Store = options.DEFAULT_STORE,
    json: options.Json = False,
) -> None:
    """Show who changed the route table of a store, when, and what; the newest change first."""
    directory = options.opened(store)
    found = directory.routes_changes()
    rows = [_row(directory, change) for change in found[:most]]
    if json:
        output.json(rows)
        return
    if not rows:
        output.note("nothing has changed the route table through Turnout yet")
    for index, row in enumerate(rows):
        present = "  now" if index == 0 else ""
        output.say(output.plain(f"{(row['after'] or 'no table')[:12]}  {row['at'] or 'at some time'}{present}"))
        output.say(output.plain(f"  {row['who']}, {row['how']}" if row["who"] else f"  {row['how']}"))
        shown = row["changes"]
        for line in shown[:MOST_LINES]:
            output.say(output.plain(f"    {line}"))
        if len(shown) > MOST_LINES:
            output.say(f"    and {len(shown) - MOST_LINES} more")
    if len(found) > most:
        output.note(f"{len(found) - most} earlier; -n shows more")


def diff(
    before: Before = None,
    after: After = NOW,
    store: options.Store = options.DEFAULT_STORE,
    json: options.Json = False,
) -> None:
    """Show what a store's route table changed from one to another: in sentences, and line by line."""
    directory = options.opened(store)
    found = directory.routes_changes()
    new = _digest(directory, found, after)
    old = _before(found, new) if before is None else _digest(directory, found, before)
    old_text, new_text = _text(directory, old), _text(directory, new)
    lines = list(
        difflib.unified_diff(old_text.splitlines(), new_text.splitlines(), _short(old), _short(new), lineterm="")
    )
    said = _said(old_text, new_text)
    if json:
        output.json({"before": old, "after": new, "changes": said, "diff": lines})
        return
    for line in said or ["no changes"]:
        output.say(output.plain(line))
    if lines:
        output.say()
    for line in lines:
        output.say(output.plain(line))


def rollback(
    digest: Annotated[
        str | None,
        typer.Argument(metavar="DIGEST", help="A digest's first digits; by default the table before the present one."),
    ] = None,
    store: options.Store = options.DEFAULT_STORE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the changes and check the table; change nothing.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Put a route table back that a store had before; say what that changes.

    Twice without DIGEST is there and back again.
    """
    directory = options.opened(store)
    snapshot = directory.snapshot()
    found = directory.routes_changes()
    wanted = _before(found, snapshot.routes_digest) if digest is None else _digest(directory, found, digest)
    if wanted is None:
        raise CommandError("there was no route table before this one", exits.NOT_FOUND)
    text = _text(directory, wanted)
    parsed = table.read(f"the table {_short(wanted)}", text, directory)
    said = _said(snapshot.routes_text or "", text)
    if not dry_run:
        directory.write_routes(text, snapshot.routes_digest, options.by("routes rollback"), numbered(parsed))
    if json:
        output.json({"changes": said, "digest": wanted, "applied": not dry_run})
        return
    for line in said or ["no changes"]:
        output.say(output.plain(line))
    output.note(f"{'checked' if dry_run else 'rolled back to'}: {wanted}")


def _row(directory: DirectoryStore, change: Change) -> dict[str, Any]:
    entry = change.entry
    try:
        said = _said(_text(directory, change.before), _text(directory, change.after))
    except CommandError as error:
        said = [error.message]
    return {
        "before": change.before,
        "after": change.after,
        "at": entry.at if entry else "",
        "who": entry.who if entry else "",
        "how": entry.how if entry else "changed outside Turnout",
        "changes": said,
    }


def _before(found: tuple[Change, ...], digest: str | None) -> str | None:
    """Return the digest of the table that the newest change to *digest* replaced."""
    for change in found:
        if change.after == digest:
            return change.before
    raise CommandError("the audit knows of no table before this one; see `turnout routes history`", exits.NOT_FOUND)


def _digest(directory: DirectoryStore, found: tuple[Change, ...], given: str) -> str | None:
    """Return the whole digest that *given* is the beginning of."""
    present = directory.snapshot().routes_digest
    if given == NOW:
        return present
    known = {present, *(change.before for change in found), *(change.after for change in found)}
    fitting = [one for one in known if one is not None and one.startswith(given.lower())]
    if len(given) < _LEAST_DIGITS or len(fitting) > 1:
        raise CommandError(
            f"{given}: fits {len(fitting)} tables; give more digits, at least {_LEAST_DIGITS}", exits.INVALID
        )
    if not fitting:
        raise CommandError(f"{given}: the audit has no such table; see `turnout routes history`", exits.NOT_FOUND)
    return fitting[0]


def _text(directory: DirectoryStore, digest: str | None) -> str:
    """Return a table's text; an empty one where there was none."""
    if digest is None:
        return ""
    content = directory.audit.content(digest)
    if content is None:
        snapshot = directory.snapshot()
        if snapshot.routes_digest == digest and snapshot.routes_text is not None:
            return snapshot.routes_text
        raise CommandError(f"the table {_short(digest)} was not kept", exits.NOT_FOUND)
    return content.decode(errors="replace")


def _said(before: str, after: str) -> list[str]:
    return changes(_listed(before), _listed(after))


def _listed(text: str) -> list[Listed]:
    """List a table's routes; none of one that is wrong."""
    try:
        return listed(parse(text)) if text else []
    except InvalidRouteTableError:
        return []


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "no table"
