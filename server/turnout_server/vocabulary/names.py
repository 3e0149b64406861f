"""What models, labels, routes and targets may be called."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\Z"
LABEL_PATTERN = r"^(?![0-9]+\Z)[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\Z"
"""As a name, but not all digits: that would be a version's number."""

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
"""Lower case, 1 to 63 characters, safe in paths and metrics."""
Label = Annotated[str, msgspec.Meta(pattern=LABEL_PATTERN)]

CHAMPION = "champion"
"""The label whose version a model's bare name means, where the model has it."""

_ONLY_DIGITS = re.compile(r"[0-9]+")


def is_version_number(text: str) -> bool:
    """Say whether *text* is a version number rather than a label; a label may not look like one."""
    return _ONLY_DIGITS.fullmatch(text) is not None
