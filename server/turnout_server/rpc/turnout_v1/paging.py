"""Pages of named things, ordered by name: a token says after which name the next page begins."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Sequence

from turnout_server.vocabulary.errors import InvalidRequestError

DEFAULT_SIZE = 100
MAX_SIZE = 1000
_PREFIX = "after:"


def page(names: Sequence[str], size: int, token: str) -> tuple[Sequence[str], str]:
    """Return one page of *names*, and the token of the next page; it is empty on the last.

    What comes or goes between two calls moves nothing else: each name that stays is seen once.

    Args:
        names: ascending.
        size: names on the page at the most, 1 to `MAX_SIZE`; 0 means `DEFAULT_SIZE`.
        token: of the page; empty for the first.

    Raises:
        InvalidRequestError: the size is out of bounds, or the token is not one that this function made.
    """
    if not 0 <= size <= MAX_SIZE:
        raise InvalidRequestError(f"page_size: found {size}; expected 0 to {MAX_SIZE}")
    start = bisect_right(names, _name(token)) if token else 0
    end = start + (size or DEFAULT_SIZE)
    return names[start:end], _token(names[end - 1]) if end < len(names) else ""


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(f"{_PREFIX}{name}".encode()).decode()


def _name(token: str) -> str:
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text.startswith(_PREFIX):
        raise InvalidRequestError("page_token: is not a next_page_token that this server gave")
    return text.removeprefix(_PREFIX)
