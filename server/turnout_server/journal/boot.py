"""One start of one gateway, as its records and files name it."""

from __future__ import annotations

import re
import secrets
import socket
import time
from typing import NamedTuple

BOOTS = ".boots"
"""The folder of the boots' counter files, below the journal."""
_MOST_CHARACTERS = 64


class Boot(NamedTuple):
    """One start of one gateway."""

    instance: str
    boot: str
    """Sixteen hexadecimal digits: when it started, in seconds, and eight at random. They sort by time."""

    @property
    def name(self) -> str:
        """What the boot's files are called."""
        return f"{self.instance}-{self.boot}"


def identify(instance: str | None, now: float | None = None) -> Boot:
    """Return the identity of a gateway that starts.

    Args:
        instance: what it is called, which is made lower case, and safe in file names; None for the host's name.
        now: in seconds since the epoch; None for the present.
    """
    name = re.sub(r"[^a-z0-9._-]+", "-", (instance or socket.gethostname()).lower()).strip(".-")[:_MOST_CHARACTERS]
    seconds = int(time.time() if now is None else now) & 0xFFFF_FFFF
    return Boot(name or "gateway", f"{seconds:08x}{secrets.token_hex(4)}")
