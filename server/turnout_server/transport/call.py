"""The narrow part of a call that servicers may use, so that another transport can stand under the same servicers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

UNIT_KEY = "x-turnout-unit"
"""The metadata key that names the unit, where the request itself does not."""
REQUEST_ID_KEY = "x-request-id"
"""The metadata key that names the request, where the request itself does not."""


class Call(Protocol):
    """One call in progress."""

    principal: str
    """Who calls, as authenticated; empty until an element of the chain has said so."""

    @property
    def address(self) -> str:
        """Where the caller is: HOST:PORT, or what else the transport knows."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The caller's metadata: names in lower case, text values only, the last of several values."""

    @property
    def deadline(self) -> float | None:
        """When the caller stops waiting, on the clock of `time.monotonic`, in seconds; None for never."""
