"""What callers may call a unit, or a request."""

from __future__ import annotations

from turnout_server.vocabulary.errors import InvalidRequestError

UNIT_LIMIT = 1024
"""Characters of a unit, or of a request's id. Each is hashed, kept, and written down."""


def check_unit(unit: str, what: str = "unit") -> str:
    """Return *unit*, which came in as *what*.

    Raises:
        InvalidRequestError: it has more than `UNIT_LIMIT` characters.
    """
    if len(unit) > UNIT_LIMIT:
        raise InvalidRequestError(f"{what}: {len(unit)} characters; at most {UNIT_LIMIT} are allowed")
    return unit
