"""A disk that is full from some write on."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

FULL = os.strerror(errno.ENOSPC)
"""How that is said."""


def fill(patched: pytest.MonkeyPatch, owner: Any, name: str, well: int) -> None:
    """Have the disk be full for what is called *name* in *owner*, after *well* calls."""
    real, left = getattr(owner, name), [well]

    def full(*given: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, FULL)
        return real(*given, **named)

    patched.setattr(owner, name, full)
