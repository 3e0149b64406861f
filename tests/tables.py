"""Tables of one rule: every row is checked, and whoever looks sees at once which rows fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def check_all(rows: Iterable[tuple[Any, ...]], check: Callable[..., None]) -> None:
    """Call *check* with each row, and fail with all rows for which it did; a row's first value is its name.

    For rows that share what is dear to set up, and that leave it as it was: one that fails must not fail the next.
    """
    failed = {}
    count = 0
    for row in rows:
        count += 1
        try:
            check(*row)
        except (Exception, pytest.fail.Exception) as error:
            failed[str(row[0])] = f"{type(error).__name__}: {error}"
    assert count, "an empty table"
    if failed:
        listed = "\n\n".join(f"--- {name}\n{problem}" for name, problem in failed.items())
        pytest.fail(f"{len(failed)} of {count} rows:\n\n{listed}", pytrace=False)
