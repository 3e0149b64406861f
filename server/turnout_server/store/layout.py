"""The keys of a store's blobs, and which names may become part of them."""

from __future__ import annotations

import re

from turnout_server.store.manifest import MANIFEST_NAME
from turnout_server.vocabulary.errors import InvalidNameError
from turnout_server.vocabulary.names import NAME_PATTERN, is_version_number

MODELS = "models"
"""The folder that has one folder for each model."""
LABELS_NAME = "labels.json"
SUSPENDED_NAME = "suspended.json"
ROUTES_KEY = "routes.yaml"
"""The route table."""
AUDIT = "audit"
"""The folder of who changed what."""
CONTENT = f"{AUDIT}/content"
"""What route tables, labels and removed manifests were, by digest."""
ROUTES_AUDIT = f"{AUDIT}/routes"
"""The changes of the route table."""
ROLLOUTS = "rollouts"
"""The folder of what has been decided about routes since."""

_NAME = re.compile(NAME_PATTERN)
_VERSION_FOLDER = re.compile(r"[1-9][0-9]{0,17}")
"""Canonical decimal that fits a signed 64-bit integer: `7`, but not `007`, `0` or `+7`."""


def model_folder(model: str) -> str:
    """Return the folder of *model*. Raise `InvalidNameError` where the name is not allowed, as all below do."""
    return f"{MODELS}/{check_name(model, 'model')}"


def version_folder(model: str, version: int) -> str:
    """Return the folder of one version."""
    return f"{model_folder(model)}/{check_version(version)}"


def manifest_key(model: str, version: int) -> str:
    """Return the key of one version's manifest."""
    return f"{version_folder(model, version)}/{MANIFEST_NAME}"


def labels_key(model: str) -> str:
    """Return the key of the labels of *model*."""
    return f"{model_folder(model)}/{LABELS_NAME}"


def suspended_key(model: str) -> str:
    """Return the key of what is there while *model* is suspended."""
    return f"{model_folder(model)}/{SUSPENDED_NAME}"


def last_version_key(model: str) -> str:
    """Return the key of the highest version number that *model* ever gave away; a deleted one is not used again."""
    return f"{model_folder(model)}/.last_version"


def removals_folder(model: str) -> str:
    """Return the folder of what says which versions of *model* are being removed."""
    return f"{model_folder(model)}/.removals"


def model_audit(model: str) -> str:
    """Return the folder with the changes of *model*."""
    return f"{AUDIT}/{model_folder(model)}"


def rollout_key(route: str) -> str:
    """Return the key of what has been decided about *route*."""
    return f"{ROLLOUTS}/{check_name(route, 'route')}.json"


def rollout_audit(route: str) -> str:
    """Return the folder with the changes of that."""
    return f"{AUDIT}/{ROLLOUTS}/{check_name(route, 'route')}"


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
    """Return *version* as the name of its folder.

    Raises:
        InvalidNameError: it is not an integer from 1 to 999999999999999999.
    """
    text = str(version)
    if type(version) is not int or version_number(text) is None:
        raise InvalidNameError(f"version {_short(text)} is not allowed; versions are integers from 1 on")
    return text


def version_number(folder: str) -> int | None:
    """Return the version that a folder of this name holds, or None where the name is no version's."""
    return int(folder) if _VERSION_FOLDER.fullmatch(folder) else None


def _short(name: str) -> str:
    return repr(name) if len(name) <= 100 else f"{name[:100]!r}... ({len(name)} characters)"
