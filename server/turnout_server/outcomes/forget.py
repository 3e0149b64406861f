"""Forgetting a unit in all of a journal: in its records, in outcomes, and in what a gateway left behind of those."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path

from turnout_server.journal import forget as journal_forget
from turnout_server.journal.forget import ForgettingError, Forgotten, Removed
from turnout_server.outcomes.inbox import left_behind
from turnout_server.outcomes.reading import OUTCOMES
from turnout_server.outcomes.schema import FOLDER


def forget(journal: Path, unit: str, key_file: Path | None = None) -> Forgotten:
    """Remove every record and every outcome of *unit* from *journal*, and write down that it was done.

    An outcome that names no unit is the unit's where it names one of its requests.

    What a running gateway has in no file yet stays, and its boot is named: forget again.

    Args:
        journal: its directory.
        unit: as callers sent it.
        key_file: the keys that units are hashed with; None for the journal's own.

    Raises:
        InvalidRequestError, ConfigurationError, ForgettingError: see `journal.forget.forget`.
    """

    def inboxes(hashes: Collection[bytes], requests: Collection[str]) -> Mapping[str, Removed]:
        return _removed(journal, hashes, requests)

    return journal_forget.forget(journal, unit, key_file, beside=(OUTCOMES,), elsewhere=inboxes)


def _removed(journal: Path, hashes: Collection[bytes], requests: Collection[str]) -> dict[str, Removed]:
    done: dict[str, Removed] = {}
    if not (journal / FOLDER).is_dir():
        return done
    try:
        for inbox in left_behind(journal / FOLDER, strict=True):
            with contextlib.closing(inbox):
                try:
                    removed, by_request = inbox.remove_units(hashes), inbox.remove_requests(requests)
                except sqlite3.Error as error:
                    raise ForgettingError(f"{inbox.file}: {error}") from error
                if removed or by_request:
                    done[str(inbox.file.relative_to(journal))] = Removed(removed + by_request, by_request)
    except OSError as error:
        raise ForgettingError(str(error)) from error
    return done
