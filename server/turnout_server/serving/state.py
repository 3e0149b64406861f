"""Where this process is with a version."""

from __future__ import annotations

import enum
from typing import NamedTuple

from turnout_server.vocabulary.versions import VersionKey


class State(enum.Enum):
    """Where a process is with a version. Only AVAILABLE answers requests."""

    STORED = "STORED"
    """In the store; nothing asks this process to load it."""
    LOADING = "LOADING"
    """Being verified, loaded and warmed up."""
    AVAILABLE = "AVAILABLE"
    """Serving."""
    UNLOADING = "UNLOADING"
    """Finishing its last requests."""
    FAILED = "FAILED"
    """It could not be loaded; it is tried again, ever more seldom, for as long as it is wanted."""


class VersionStatus(NamedTuple):
    """One version and its state."""

    key: VersionKey
    state: State
    detail: str = ""
    """Why, when there is something to say."""
