"""Forgetting a unit in all of a journal: in its records, in outcomes, and in what a gateway left behind of those."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path

from turnout_server.journal import forget as journal_forget
from turnout_server.journal.forget import Forgotten
from turnout_server.outcomes.inbox import left_behind
from turnout_server.outcomes.reading import OUTCOMES
from turnout_server.outcomes.schema import FOLDER


def forget(journal: Path, unit: str, key_file: Path | None = None) -> Forgotten:
    """Remove every record and every outcome of *unit* from *journal*, and write down that it was done.

    What a running gateway has in no file yet stays, and its boot is named: forget again.

    Args:
        journal: its directory.
        unit: as callers sent it.
        key_file: the keys that units are hashed with; None for the journal's own.

    Raises:
        InvalidRequestError, ConfigurationError, ForgettingError: see `journal.forget.forget`.
    """

    def inboxes(hashes: Collection[bytes]) -> Mapping[str, int]:
        return _removed(journal, hashes)

    return journal_forget.forget(journal, unit, key_file, beside=(OUTCOMES,), elsewhere=inboxes)


def _removed(journal: Path, hashes: Collection[bytes]) -> dict[str, int]:
    done: dict[str, int] = {}
    if (journal / FOLDER).is_dir():
        for inbox in left_behind(journal / FOLDER):
            with contextlib.closing(inbox):
                if removed := inbox.remove_units(hashes):
                    done[str(inbox.file.relative_to(journal))] = removed
    return done
