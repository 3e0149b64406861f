"""The secrets that units are hashed with: raw units never reach the disk.

A key file has one key a line, in hexadecimal. The first is used for writing; a second one is the key from before, with
which units are still found.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import structlog

from turnout_server.journal.sync import sync
from turnout_server.vocabulary.errors import ConfigurationError

KEY = ".key"
"""The journal's own key file, where it was given no other."""
_MOST_KEYS = 2
_LEAST_KEY = 16
_MOST_KEY = 64
"""BLAKE2b takes no longer ones."""
_log = structlog.get_logger("turnout.journal")


def keys_in(file: Path) -> tuple[bytes, ...]:
    """Return the keys in *file*, newest first.

    Raises:
        ConfigurationError: it cannot be read, or has no key in it.
    """
    try:
        lines = file.read_text(encoding="ascii").split()
        keys = tuple(map(bytes.fromhex, lines))
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigurationError(f"{file}: expected keys in hexadecimal, one a line") from error
    if len(keys) > _MOST_KEYS:
        raise ConfigurationError(f"{file}: {len(keys)} keys; expected one or two: the new one and the one from before")
    if not keys or not all(_LEAST_KEY <= len(key) <= _MOST_KEY for key in keys):
        raise ConfigurationError(f"{file}: expected keys of {_LEAST_KEY} to {_MOST_KEY} bytes, one a line")
    return keys


def key_id(key: bytes) -> str:
    """Return what rows call *key*."""
    return hashlib.blake2b(key, person=b"turnout.key").hexdigest()[:8]


def hashed(unit: str, key: bytes) -> bytes:
    """Return *unit* as rows have it."""
    return hashlib.blake2b(unit.encode(errors="surrogatepass"), key=key, digest_size=16).digest()


def own_keys(journal: Path) -> tuple[bytes, ...]:
    """Return the journal's own keys; make one where there is none. Several processes may try at once.

    Raises:
        OSError: none can be made.
        ConfigurationError: there is one that cannot be used.
    """
    if make_key(journal):
        _log.warning(
            "a key for units was made; gateways that share experiments have to share it", file=str(journal / KEY)
        )
    return keys_in(journal / KEY)


def make_key(journal: Path) -> bool:
    """Make the journal's own key where it has none; return whether this call did.

    Raises:
        OSError: it cannot be made.
    """
    file = journal / KEY
    if file.exists():
        return False
    # Written aside and linked: nobody reads half a key, and the first one stays.
    draft = journal / f"{KEY}.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as writer:
            writer.write(f"{secrets.token_hex(32)}\n")
            writer.flush()
            os.fsync(writer.fileno())
        os.link(draft, file)
        sync(journal)  # a power cut must not take the key of rows that stay
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True
