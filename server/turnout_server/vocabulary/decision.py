"""Who answers a request, and why."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Reason(enum.Enum):
    """Why a target answered."""

    __hash__ = object.__hash__  # members are single objects, and a hash by name is Python code on the hot path

    SPLIT = "SPLIT"
    OVERRIDE = "OVERRIDE"
    PINNED = "PINNED"
    UNSTICKY = "UNSTICKY"
    FALLBACK = "FALLBACK"


class Served(NamedTuple):
    """Which version answered, and why: part of every answer."""

    route: str
    """Empty when a model was named outright."""
    target: str
    model: str
    version: int
    reason: Reason
