"""Which data plane serves, and why: the engine where it is wanted and can be used, else the portable one, Python's."""

from __future__ import annotations

import importlib
from typing import Literal

import msgspec

from turnout_server.config import Config
from turnout_server.release import release
from turnout_server.vocabulary.errors import ConfigurationError

NOT_INSTALLED = "turnout-engine is not installed"
HOW_TO_GET_IT = "`make setup` builds it where cargo is; elsewhere install a wheel of turnout-engine (docs/engine.md)"


class Engine(msgspec.Struct, frozen=True):
    """What was found when the engine was looked for."""

    version: str | None = None
    """None where there is none."""
    problem: str = ""
    """Why it can't be used; empty when it can."""


class Choice(msgspec.Struct, frozen=True):
    """The data plane that serves."""

    name: Literal["engine", "python"]
    why: str


def find() -> Engine:
    """Import the engine, and see whether it belongs to this release."""
    try:
        version = str(importlib.import_module("turnout_engine").__version__)
    except ModuleNotFoundError as error:
        if error.name == "turnout_engine":
            return Engine(problem=NOT_INSTALLED)
        return Engine(problem=f"turnout-engine cannot be imported: {error}")
    except Exception as error:  # a library that isn't there, another machine's build: it is as good as absent
        return Engine(problem=f"turnout-engine cannot be imported: {' '.join(str(error).split())}")
    return fitting(version, release())


def fitting(version: str, wanted: str) -> Engine:
    """Return an engine of this version, if that is the release *wanted*; a tree not installed takes any."""
    if version != wanted and not wanted.startswith("0+"):
        return Engine(version, f"turnout-engine is {version}, and this is Turnout {wanted}")
    return Engine(version)


def chosen(config: Config, engine: Engine) -> Choice:
    """Say which data plane serves.

    Raises:
        ConfigurationError: the engine is asked for by name, and can't be used.
    """
    if config.data_plane == "python":
        return Choice("python", "data_plane is python")
    if not engine.problem:
        return Choice("engine", f"turnout-engine {engine.version}")
    if config.data_plane == "engine":
        raise ConfigurationError(f"data_plane: found engine, but {engine.problem}; {HOW_TO_GET_IT}")
    return Choice("python", engine.problem)
