"""Whom a caller asks."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from turnout_server.vocabulary.errors import InvalidRequestError
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.units import UNIT_LIMIT, check_unit

NAME_LIMIT = 256
"""Characters of a name or a version that are worth looking up, and worth repeating in an error."""
NO_HEADERS: Mapping[str, str] = {}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a caller asks, and on whose behalf: all that routing needs to know.

    Raises:
        InvalidRequestError: the name is empty, or a name, version or unit is longer than allowed.
    """

    name: str
    """A route, or a model."""
    version: str = ""
    """Empty, a version number, or a label; setting it pins the request."""
    unit: str = ""
    headers: Mapping[str, str] = NO_HEADERS
    """Request metadata that overrides may look at, names in lower case."""
    task: Task | None = None
    """The task that the typed service needs; None where any will do."""

    def __post_init__(self) -> None:
        """Check what every way in has to check."""
        if not self.name:
            raise InvalidRequestError("name: is empty; expected a route or a model")
        if len(self.name) > NAME_LIMIT or len(self.version) > NAME_LIMIT:
            what, text = ("name", self.name) if len(self.name) > NAME_LIMIT else ("version", self.version)
            raise InvalidRequestError(f"{what}: {len(text)} characters; at most {NAME_LIMIT} are allowed")
        if len(self.unit) > UNIT_LIMIT:
            check_unit(self.unit)
