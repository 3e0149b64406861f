"""Outcomes as SQL: the view `outcomes`, beside the journal's `records`.

A row of it is what a gateway acknowledged, or what was imported. One id may be there more than once, from several
gateways or imports; whoever counts has to count it once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from turnout_server.journal import reading
from turnout_server.journal.reading import Answer, View
from turnout_server.outcomes.schema import COLUMNS, FILES

OUTCOMES = View("outcomes", FILES, COLUMNS)


def connect(journal: Path) -> duckdb.DuckDBPyConnection:
    """Return a connection with both views over what can be read of *journal*, and no other way out of it."""
    return reading.connect(journal, (OUTCOMES,))


def query(journal: Path, sql: str, parameters: Mapping[str, object] | None = None) -> Answer:
    """Return what *sql* finds in the views `records` and `outcomes`.

    Args:
        journal: its directory.
        sql: one SELECT.
        parameters: values for `$name` in it.

    Raises:
        JournalQueryError, JournalReadError: see `journal.reading.query`.
    """
    return reading.query(journal, sql, parameters, beside=(OUTCOMES,))
