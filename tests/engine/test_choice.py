"""Which data plane serves."""

from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType

import pytest

from turnout_server.config import Config
from turnout_server.engine.choice import Choice, Engine, chosen, find, fitting
from turnout_server.vocabulary.errors import ConfigurationError

THERE = Engine("0.1.0")
ABSENT = Engine(problem="turnout-engine is not installed")


@pytest.mark.parametrize(
    ("config", "engine", "choice"),
    [
        (Config(), THERE, Choice("engine", "turnout-engine 0.1.0")),
        (Config(), ABSENT, Choice("python", "turnout-engine is not installed")),
        (Config(data_plane="engine"), THERE, Choice("engine", "turnout-engine 0.1.0")),
        (Config(data_plane="python"), THERE, Choice("python", "data_plane is python")),
        (Config(data_plane="python"), ABSENT, Choice("python", "data_plane is python")),
    ],
)
def test_the_engine_serves_where_it_is_and_nothing_says_otherwise(
    config: Config, engine: Engine, choice: Choice
) -> None:
    assert chosen(config, engine) == choice


def test_whoever_asks_for_the_engine_where_it_is_not_is_told_how_to_get_it() -> None:
    with pytest.raises(ConfigurationError, match=r"turnout-engine is not installed; .*make setup.*docs/engine\.md"):
        chosen(Config(data_plane="engine"), ABSENT)


def test_an_engine_of_another_release_is_not_used() -> None:
    engine = fitting("0.2.0", "0.1.0")
    assert chosen(Config(), engine) == Choice("python", "turnout-engine is 0.2.0, and this is Turnout 0.1.0")
    assert fitting("0.1.0", "0.1.0") == THERE
    assert fitting("0.2.0", "0+unknown") == Engine("0.2.0")


def test_an_engine_that_can_be_imported_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("turnout_engine")
    module.__version__ = "0.1.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "turnout_engine", module)
    monkeypatch.setattr(metadata, "version", {"turnout": "0.1.0"}.__getitem__)
    assert find() == THERE


class Refuses:
    """Imports nothing, for one reason."""

    def __init__(self, reason: ImportError) -> None:
        self._reason = reason

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "turnout_engine":
            raise self._reason


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        (ModuleNotFoundError("No", name="turnout_engine"), "turnout-engine is not installed"),
        (ModuleNotFoundError("No module", name="other"), "turnout-engine cannot be imported: No module"),
        (ImportError("GLIBC_2.99\nnot found"), "turnout-engine cannot be imported: GLIBC_2.99 not found"),
    ],
)
def test_an_engine_that_cannot_be_imported_says_why(
    monkeypatch: pytest.MonkeyPatch, reason: ImportError, problem: str
) -> None:
    monkeypatch.delitem(sys.modules, "turnout_engine", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuses(reason), *sys.meta_path])
    assert find() == Engine(problem=problem)
