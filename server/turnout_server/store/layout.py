"""Where things are in a store, and which names may become paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from turnout_server.store.manifest import MANIFEST_NAME
from turnout_server.vocabulary.errors import InvalidNameError
from turnout_server.vocabulary.names import NAME_PATTERN, is_version_number

LABELS_NAME = "labels.json"
ROUTES_NAME = "routes.yaml"

_NAME = re.compile(NAME_PATTERN)
_VERSION_DIRECTORY = re.compile(r"[1-9][0-9]{0,17}")
"""Canonical decimal that fits a signed 64-bit integer: `7`, but not `007`, `0` or `+7`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of the store under *root*. A name is checked before it becomes part of a path.

    Raises:
        InvalidNameError: every method that takes a model, when its name is not allowed.
    """

    root: Path

    @property
    def models_dir(self) -> Path:
        """The directory that has one directory for each model."""
        return self.root / "models"

    @property
    def routes_path(self) -> Path:
        """The route table."""
        return self.root / ROUTES_NAME

    @property
    def staging(self) -> Path:
        """Where versions grow until they appear; on the same file system as the rest, and never part of the store."""
        return self.root / ".staging"

    @property
    def lock_path(self) -> Path:
        """The lock that every writer holds for its last, short step."""
        return self.staging / "lock"

    def model_dir(self, model: str) -> Path:
        """The directory of *model*."""
        return self.models_dir / check_name(model, "model")

    def version_dir(self, model: str, version: int) -> Path:
        """The directory of one version."""
        return self.model_dir(model) / check_version(version)

    def manifest_path(self, model: str, version: int) -> Path:
        """The manifest of one version."""
        return self.version_dir(model, version) / MANIFEST_NAME

    def labels_path(self, model: str) -> Path:
        """The labels of *model*."""
        return self.model_dir(model) / LABELS_NAME

    def last_version_path(self, model: str) -> Path:
        """The highest version number that *model* ever gave away, so that a deleted one is not used again."""
        return self.model_dir(model) / ".last_version"


def check_name(name: str, what: str = "name") -> str:
    """Return *name*, which is to name a *what* (`model`, `route`, ...).

    Raises:
        InvalidNameError: it is not 1 to 63 lower-case letters, digits, `.`, `_`, `-`, starting and ending with a letter
            or digit.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidNameError(
            f"{what} {_short(name)} is not allowed; a name is 1 to 63 characters out of a-z, 0-9, '.', '_' and '-', "
            "and starts and ends with a letter or digit",
            name=name[:100],
        )
    return name


def check_label(label: str) -> str:
    """Return *label*.

    Raises:
        InvalidNameError: it is not a name, or it looks like a version number.
    """
    check_name(label, "label")
    if is_version_number(label):
        raise InvalidNameError(
            f"label {label!r} is not allowed: it looks like a version number; a label has a letter in it", name=label
        )
    return label


def check_version(version: int) -> str:
    """Return *version* as the name of its directory.

    Raises:
        InvalidNameError: it is not an integer from 1 to 999999999999999999.
    """
    text = str(version)
    if type(version) is not int or version_number(text) is None:
        raise InvalidNameError(f"version {_short(text)} is not allowed; versions are integers from 1 on")
    return text


def version_number(directory: str) -> int | None:
    """Return the version that a directory of this name holds, or None where the name is no version's."""
    return int(directory) if _VERSION_DIRECTORY.fullmatch(directory) else None


def _short(name: str) -> str:
    return repr(name) if len(name) <= 100 else f"{name[:100]!r}... ({len(name)} characters)"
