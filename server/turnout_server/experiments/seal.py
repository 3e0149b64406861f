"""Files that are written once, with a digest of all that is in them: a later change shows."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from turnout_server.vocabulary.errors import StoreError

SEAL = "seal"
"""The field that has the digest: SHA-256 of the others as canonical JSON, in hexadecimal."""


def sealed(value: msgspec.Struct) -> bytes:
    """Return a value as JSON for people, sealed."""
    document = msgspec.to_builtins(value)
    return msgspec.json.format(msgspec.json.encode(document | {SEAL: _digest_of(document)}), indent=2) + b"\n"


def opened(content: bytes, kind: Any, place: str, *, must_be_sealed: bool) -> Any:
    """Return the value of some kind that *content* is.

    Args:
        content: JSON.
        kind: the type of the value.
        place: what errors call it.
        must_be_sealed: whether one without a seal is refused; earlier ones have none.

    Raises:
        StoreError: it is none, or was changed since it was sealed.
    """
    try:
        document = msgspec.json.decode(content)
        value = msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreError(f"{place}: {error}") from error
    found = document.get(SEAL)
    if found is None and not must_be_sealed:
        return value
    if found != _digest_of(document):
        raise StoreError(f"{place} was changed: its seal is not that of what is in it")
    return value


def _digest_of(document: dict[str, Any]) -> str:
    rest = {name: value for name, value in document.items() if name != SEAL}
    return hashlib.sha256(msgspec.json.encode(rest, order="deterministic")).hexdigest()
