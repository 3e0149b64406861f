"""The wheel that `make wheel` makes, in an environment that has nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.client.fake import FakeGateway

ROOT = Path(__file__).parents[2]
CLIENT = """
import sys, turnout
with turnout.Client(sys.argv[1]) as client:
    print(client.rank("ranking", {"milk-1": {"price": 3.25}, "milk-2": {"price": 4.5}}, unit="customer-7").ids)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"numpy", "onnxruntime", "turnout_server", "yaml"}))
"""


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TURNOUT_"))}
    return subprocess.run(
        [*map(str, command)], env=kept | environment, cwd="/", capture_output=True, text=True, check=False, timeout=300
    )


def wheel_command() -> Sequence[str]:
    """Return how the Makefile makes the wheel, so that this is what is tried."""
    found = re.search(r"-m (pip wheel .*) --wheel-dir dist \.", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert found is not None
    return found[1].split()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with the wheel and what it asks for, in the versions that are locked."""
    folder = tmp_path_factory.mktemp("wheel")
    made = run(sys.executable, "-m", *wheel_command(), "--wheel-dir", folder, ROOT)
    assert made.returncode == 0, made.stderr
    (wheel,) = folder.glob("turnout-*.whl")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    python = folder / "env/bin/python"
    lock = ROOT / "requirements/server.txt"
    uv = Path(sys.executable).with_name("uv")
    done = run(uv, "pip", "install", "--quiet", f"--python={python}", f"--constraint={lock}", wheel)
    if done.returncode:
        # uv knows neither pip's settings nor its mirrors.
        options = ("--quiet", "--disable-pip-version-check", "--constraint", lock)
        done = run(sys.executable, "-m", "pip", f"--python={python}", "install", *options, wheel)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"grpcio and protobuf cannot be had: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python.parent


def test_the_client_works_and_brings_nothing_of_the_server(installed: Path, gateway: FakeGateway) -> None:
    ran = run(installed / "python", "-c", CLIENT, gateway.target)
    assert (ran.returncode, ran.stdout) == (0, "['milk-2', 'milk-1']\n[]\n"), ran.stderr


def test_the_command_says_what_the_server_needs(installed: Path) -> None:
    ran = run(installed / "turnout", "models")
    assert (ran.returncode, ran.stdout) == (69, "")
    assert "pip install 'THE_WHEEL[server]'" in ran.stderr
