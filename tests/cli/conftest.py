"""Runs command lines in this process, on a store that a test may change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.tiny_store import make_store
from turnout_server.cli.application import run as run_command_line


@dataclass(frozen=True)
class Ran:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("pristine") / "store")


@pytest.fixture
def store(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny store of the test's own, which commands use when they are not told otherwise."""
    copy = Path(shutil.copytree(pristine, tmp_path / "store"))
    monkeypatch.setenv("TURNOUT_STORE", str(copy))
    return copy


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `turnout` with these arguments, in a directory of its own."""
    monkeypatch.delenv("TURNOUT_TARGET", raising=False)

    def ran(*arguments: object) -> Ran:
        code = run_command_line([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return ran
