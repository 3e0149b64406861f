"""`turnout label --history`: what a store's audit knows of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from turnout_server.cli import exits, output
from turnout_server.cli.exits import CommandError
from turnout_server.store.audit import Change
from turnout_server.store.labels import decode_labels
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import StoreError


def show(directory: DirectoryStore, model: str, label: str | None, json: bool) -> None:
    """Print who moved labels of *model*, or this *label* alone, and what else happened to the model; newest first."""
    found = list(_moves(directory, model, label))
    if label is None:
        found += [
            {"at": event.at, "label": None, "from": None, "to": None, "what": event.action, "who": event.who}
            | {"how": event.how}
            for event in directory.model_events(model)
        ]
    if not found and model not in directory.models():
        raise CommandError(f"no model named {model!r}, and the audit knows of none", exits.NOT_FOUND)
    # What was done outside Turnout has no time of its own: it stays behind the change that came after it.
    found.sort(key=lambda row: row["sorted"] if "sorted" in row else row["at"], reverse=True)
    rows = [{key: value for key, value in row.items() if key != "sorted"} for row in found]
    if json:
        output.json(rows)
        return
    if not rows:
        output.note(f"nothing has moved labels of {model} through Turnout yet")
    for row in rows:
        output.say(output.plain(f"{row['at'] or 'at some time':20}  {row['what']}"))
        output.say(output.plain(f"{'':20}  {row['who']}, {row['how']}" if row["who"] else f"{'':20}  {row['how']}"))


def _moves(directory: DirectoryStore, model: str, label: str | None) -> Iterator[dict[str, Any]]:
    newest = "9"
    for change in directory.label_changes(model):
        newest = change.entry.at if change.entry else newest
        for name, before, after in _differences(directory, model, change):
            if label in (None, name):
                yield {
                    "at": change.entry.at if change.entry else "",
                    "label": name,
                    "from": before,
                    "to": after,
                    "what": f"{name} {before or 'nothing'} -> {after or 'nothing'}",
                    "who": change.entry.who if change.entry else "",
                    "how": change.entry.how if change.entry else "changed outside Turnout",
                    "sorted": newest,
                }


def _differences(directory: DirectoryStore, model: str, change: Change) -> list[tuple[str, int | None, int | None]]:
    """Return each label that a change moved, with where from and where to; None for nowhere."""
    before, after = _labels(directory, model, change.before), _labels(directory, model, change.after)
    return [
        (name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _labels(directory: DirectoryStore, model: str, digest: str | None) -> Mapping[str, int]:
    """Return what labels were; those of the present where nobody has kept them, none of what cannot be read."""
    try:
        content = directory.audit.content(digest) if digest is not None else None
        if content is None and digest is not None:
            return directory.labels(model)
        return decode_labels(content, model)
    except StoreError:
        return {}
