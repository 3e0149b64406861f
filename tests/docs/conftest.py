"""One gateway for all pages, over a copy of the sample store, as `make run` serves it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.docs.snippets import Step, agrees
from tests.e2e.conftest import REPOSITORY, Gateway, _start, environment
from turnout_server.cli.application import run as run_command_line

SHOWN = "127.0.0.1:8001"
"""Where pages have the gateway."""
FOLLOWS_S = 30.0
"""How long a gateway may take, on a busy machine, to follow a change that a page has made to the store."""
_PACE = re.compile(r"^note: requests of more than \d+ rows would run for .*\n", re.MULTILINE)
"""A remark of `turnout publish` that one machine makes and a faster one does not."""
_NEEDS_A_SHELL = frozenset("|<>&;$`*")
PROGRAMS = {
    "turnout": f'exec {shlex.quote(sys.executable)} -m turnout_server "$@"',
    "python": f'exec {shlex.quote(sys.executable)} "$@"',
    "grpcurl": f'exec {shlex.quote(str(Path(sys.executable).with_name("grpcurl")))} "$@"',
}
"""What pages call, as `docs/install.md` says to have it in PATH."""


@dataclass
class Reader:
    """Somebody who pastes a page's blocks, in a folder that looks like a checkout and may be changed."""

    folder: Path
    gateway: Gateway
    environment: dict[str, str]
    names: dict[str, Any] = field(default_factory=dict)

    def follow(self, step: Step) -> str:
        """Do what a console block says; return what is wrong with the output, empty for nothing.

        A gateway follows its store within a second, and people type no faster; so a question is asked again.
        """
        command = step.command.replace(SHOWN, self.gateway.address)
        until = time.monotonic() + FOLLOWS_S
        while True:
            code, printed = self._run(command)
            printed = _PACE.sub("", printed.replace(self.gateway.address, SHOWN))
            failed = code != 0 and "error" not in step.output
            if not failed and agrees(step.output, printed):
                return ""
            if not _only_asks(command) or time.monotonic() > until:
                return f"$ {step.command}\nexited with {code} and printed:\n{printed}\nthe page shows:\n{step.output}"
            time.sleep(0.2)

    def python(self, text: str, place: str) -> str:
        """Run a Python block and return what it printed."""
        code = compile(text.replace(SHOWN, self.gateway.address), place, "exec")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, self.names)
        return out.getvalue().replace(self.gateway.address, SHOWN)

    def _run(self, command: str) -> tuple[int, str]:
        """Run a command, `turnout` in this process where that is the same: starting one costs a second."""
        if command.startswith("turnout ") and not _NEEDS_A_SHELL.intersection(command):
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = run_command_line(shlex.split(command)[1:])
            return code, out.getvalue()
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=300,
        )
        return done.returncode, done.stdout


def _only_asks(command: str) -> bool:
    """Say whether a command changes nothing, so that it may be given again."""
    words = command.split()
    asks = {"call", "models", "health", "assign", "doctor", "top", "diff"}
    return words[0] in {"grpcurl", "curl"} or (
        words[0] == "turnout" and (words[1] in asks or words[1:3] == ["routes", "show"])
    )


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Gateway]]:
    """A folder with what a checkout has, its own store, and a gateway over that."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("clients", "docs", "protos", "tests", "server", "README.md"):
        (folder / name).symlink_to(REPOSITORY / name)
    shutil.copytree(REPOSITORY / "model_store", folder / "model_store")
    (folder / "bin").mkdir()
    for name, line in PROGRAMS.items():
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    gateway = _start(folder / "model_store", folder / "gateway.log", ("--set", "store.poll_s=0.2"), {})
    yield folder, gateway
    gateway.kill()


@pytest.fixture
def reader(checkout: tuple[Path, Gateway], monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A reader of one page."""
    folder, gateway = checkout
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    for name, value in {"TURNOUT_TARGET": gateway.address, "COLUMNS": "200", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TURNOUT_STORE", raising=False)
    monkeypatch.chdir(folder)
    return Reader(folder, gateway, environment(PATH=path, TURNOUT_TARGET=gateway.address, COLUMNS="200"))
