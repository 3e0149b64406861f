"""The route table as the store has it, or a file outside the store: read, with rollouts laid over it, and checked."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from turnout_server.gateway.overlays import Overlays
from turnout_server.routing.table import RouteTable, digest_of
from turnout_server.routing.text import parse
from turnout_server.store import files
from turnout_server.store.audit import Entry
from turnout_server.store.blobs import MOST_BLOB_BYTES
from turnout_server.store.store import ModelStore, StoreSnapshot
from turnout_server.vocabulary.errors import InvalidRouteTableError, StoreError, TurnoutError
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.versions import VersionKey, resolve


class Found(NamedTuple):
    """The table that there is, or why there is none."""

    table: RouteTable | None
    problem: str = ""
    """Why there is no table; empty when there is one, or none is there."""
    meanwhile: RouteTable | None = None
    """The table that is being served, with the rollouts of the moment: a pause counts even where another waits."""
    left_out: Mapping[str, str] = {}
    """Why what was decided about a route is not in force, by its name."""
    author: Entry | None = None
    """Who made the table the present one, where it is new and the audit knows."""


class Tables:
    """Reads the table again and again. One thread at a time."""

    def __init__(self, store: ModelStore, file: Path | None = None) -> None:
        """Read the table of *store*, or the one in *file* in its place."""
        self._store = store
        self.file = file
        """Where the table is read from in place of the store."""
        self._overlays = Overlays()
        self._parsed: tuple[str, RouteTable | None, str] | None = None
        self._author: tuple[str, Entry | None] | None = None
        """The last new table's digest, and who it is from."""

    def read(self, snapshot: StoreSnapshot, served: RouteTable) -> Found:
        """Return the table at the moment of a *snapshot*; *served* is the one that is being served.

        What is the same as the last time is the same object.
        """
        said, problem = self._plain(snapshot, served)
        both = [served.plain] if said is None else [said, served.plain]
        laid = self._overlays.lay(both, snapshot.rollouts)
        if said is None or problem:
            return Found(None, problem, laid[-1].table, laid[-1].left_out)
        return Found(laid[0].table, "", laid[-1].table, laid[0].left_out, self._author_of(said, served))

    def _plain(self, snapshot: StoreSnapshot, served: RouteTable) -> tuple[RouteTable | None, str]:
        """Return the table as people wrote it, and why it is not to be served.

        One that names what the store does not have is returned, too: who pauses does so by what it says.
        """
        text, problem = snapshot.routes_text, snapshot.routes_problem or ""
        if self.file is not None:
            text, problem = _read(self.file)
        if text is None:
            return None, problem
        if served.plain.digest == digest_of(text):
            return served.plain, ""
        if self._parsed is None or self._parsed[0] != text:
            try:
                self._parsed = (text, parse(text), "")
            except InvalidRouteTableError as error:
                self._parsed = (text, None, error.message)
        _, table, problem = self._parsed
        if table is not None:
            try:
                check_references(table, self._store, snapshot)
            except (InvalidRouteTableError, StoreError) as error:
                return table, error.message
        return table, problem

    def check(self, text: str) -> RouteTable:
        """Return the table that a text is, as `read` would.

        Raises:
            InvalidRouteTableError: it would be refused.
            StoreError: the store cannot be read.
        """
        table = parse(text)
        check_references(table, self._store, self._store.snapshot())
        return table

    def _author_of(self, table: RouteTable | None, served: RouteTable) -> Entry | None:
        """Return who made a table the present one that is not being served yet, where the store's audit knows."""
        if table is None or table.digest == served.digest or self.file is not None:
            return None
        if self._author is None or self._author[0] != table.digest:
            entry = None
            with contextlib.suppress(StoreError):
                entry = self._store.routes_author(table.digest)
            self._author = (table.digest, entry)
        return self._author[1]


def authorship(before: RouteTable, after: RouteTable, author: Entry | None, file: Path | None) -> dict[str, str]:
    """Return who has made one table out of another, for the log: who wrote it, or decided about its routes.

    Args:
        before: the table that was served.
        after: the one that is.
        author: of the text, where the audit knows.
        file: where the text is from, if not from the store.
    """
    if before.digest == after.digest:
        steps = [each.step for name, each in after.overlays.items() if before.overlays.get(name) != each]
        if not steps:
            return {"by": "not known", "how": "what was decided about a route was removed"}
        newest = max(steps, key=lambda step: step.at)
        return {"by": newest.by, "how": newest.how, "at": newest.at, "why": newest.why}
    if author is not None:
        return {"by": author.who, "how": author.how, "at": author.at}
    return {"by": "not known", "how": f"{file.name} was changed" if file else "outside Turnout"}


def check_references(table: RouteTable, store: ModelStore, snapshot: StoreSnapshot) -> None:
    """Refuse a table that refers to what is not in the store, or to a model of another task.

    Raises:
        InvalidRouteTableError: the first such place.
    """
    for compiled in table:
        route = compiled.route
        places = [(f"targets[{index}]", target.model, target.version) for index, target in enumerate(route.targets)]
        places += [(f"mirrors[{index}]", mirror.model, mirror.version) for index, mirror in enumerate(route.mirrors)]
        for place, model, selector in places:
            at = f"$.routes.{compiled.name}.{place}"
            state = snapshot.models.get(model)
            if state is None:
                raise InvalidRouteTableError(f"{at}.model", f"the store has no model {model!r}")
            key = resolve(model, selector, {model: state.labels})
            if key is None:
                known = ", ".join(sorted(state.labels)) or "none"
                raise InvalidRouteTableError(f"{at}.version", f"{model!r} has no label {selector!r}; it has {known}")
            if key.version not in state.versions:
                known = ", ".join(map(str, state.versions))
                raise InvalidRouteTableError(f"{at}.version", f"{model!r} has no version {key.version}; it has {known}")
            _check_task(store, key, route.task, f"{at}.model")


def _check_task(store: ModelStore, key: VersionKey, task: str, place: str) -> None:
    try:
        found = store.manifest(key.model, key.version).task
    except StoreError:
        raise
    except TurnoutError as error:
        raise InvalidRouteTableError(place, error.message) from error
    if task not in (found, Task.TENSORS):
        raise InvalidRouteTableError(place, f"{key} does {found}; the route's task is {task}")


def _read(file: Path) -> tuple[str | None, str]:
    try:
        return files.read(file, MOST_BLOB_BYTES).decode(), ""
    except FileNotFoundError:
        return None, f"{file.name} does not exist"
    except (OSError, UnicodeDecodeError) as error:
        return None, f"{file.name} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"
