"""Set up `.venv` with locked requirements and the project itself; do nothing when it already is so.

    python3.11 requirements/install.py server            what serving needs
    python3.11 requirements/install.py dev               that, and what tests and checks need
    python3.11 requirements/install.py pipelines         that, and what training needs
    python3.11 requirements/install.py dev bench         what benchmarks need
    python3.11 requirements/install.py fuzz              what fuzzing needs, on top of dev
    python3.11 requirements/install.py engine            what builds the engine; engine/build.py asks for it

Needs only the standard library. What was installed is remembered in `.venv/turnout-setup.json`, by the content of the
requirement files. A venv that was left half made, that was moved, or whose Python has gone, is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STATE = VENV / "turnout-setup.json"

SETS = {
    "server": ["build.txt", "server.txt"],
    "dev": ["dev.txt"],
    "pipelines": ["build.txt", "pipelines.txt"],
    "bench": ["bench.txt"],
    "engine": ["engine.txt"],
    "fuzz": ["fuzz.txt"],
}
UV = "uv.txt"
"""What installs the sets that developers need, in a tenth of the time that pip takes."""
WITH_UV = {"dev", "bench"}
TORCH = ["torch-cpu.txt", "torch.txt"]
"""The CPU build if pip can find it, else what the registry has: on Linux that is a CUDA build, with its libraries."""


def main(wanted: list[str]) -> int:
    """Install the *wanted* sets; return the exit code."""
    if not wanted or not set(wanted) <= set(SETS):
        print(f"usage: install.py [{' | '.join(SETS)}] ...", file=sys.stderr)
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036 - someone may well call it with an older one
        return fail(f"Turnout needs Python 3.11 or newer, found {sys.version.split()[0]}; say make PYTHON=python3.11")
    with (ROOT / "requirements" / "install.py").open() as own_source:
        fcntl.flock(own_source, fcntl.LOCK_EX)  # two `make`s at once take turns
        state = read_state()
        if not usable(state):
            state = make_venv()
        for name in wanted:
            install(name, state)
        install_project(state)
    return 0


def read_state() -> dict[str, Any]:
    """Return what an earlier run noted; for a venv made by someone else, that nothing is installed yet."""
    try:
        state = json.loads(STATE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = None
    return state if isinstance(state, dict) else {"place": str(VENV), "complete": not STATE.exists(), "installed": {}}


def usable(state: dict[str, Any]) -> bool:
    """Whether the venv is complete, in its old place, and runs the version of Python that this script runs on."""
    if state.get("place") != str(VENV) or not state.get("complete") or not isinstance(state.get("installed"), dict):
        return False
    probe = "import sys, pip; print(sys.version)"
    try:
        answer = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.strip() == sys.version


def make_venv() -> dict[str, Any]:
    """Make an empty venv, in place of whatever is there."""
    print(f"Making {VENV.name} with Python {sys.version.split()[0]}", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    state: dict[str, Any] = {"place": str(VENV), "complete": False, "installed": {}}
    write_state(state)
    # The `python` of a venv that this script may run in cannot found another one; its base can.
    base = getattr(sys, "_base_executable", sys.executable)
    made = subprocess.run([base, "-m", "venv", VENV], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise SetupError(f"{(made.stdout + made.stderr).strip()}\ncould not make {VENV}; Debian needs python3-venv")
    state["complete"] = True
    write_state(state)
    return state


def install(name: str, state: dict[str, Any]) -> None:
    """Install one set of requirement files, unless they are what was installed last."""
    files = [ROOT / "requirements" / file for file in SETS[name]]
    noted = [*files, *(ROOT / "requirements" / file for file in TORCH if name == "pipelines")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in noted)).hexdigest()
    if state["installed"].get(name) == digest:
        return
    print(f"Installing {' and '.join(f'requirements/{file}' for file in SETS[name])}", flush=True)
    if name not in WITH_UV or not install_with_uv(state, *files):
        install_locked(state, *files)
    if name == "pipelines":
        install_torch(state)
    note(state, name, digest)


def install_torch(state: dict[str, Any]) -> None:
    """Install PyTorch: the CPU build, or some GB more where pip cannot find that."""
    cpu, registry = (ROOT / "requirements" / file for file in TORCH)
    try:
        install_locked(state, cpu, quiet=True)
    except SetupError:
        print(f"pip finds no CPU build of torch; installing requirements/{registry.name}, some GB on Linux", flush=True)
        install_locked(state, registry)


def install_project(state: dict[str, Any]) -> None:
    """Install Turnout itself so that edits take effect at once; hatchling comes from the locked requirements."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if state["installed"].get("project") == digest:
        return
    pip_install(state, "--no-build-isolation", "--no-index", f"--editable={ROOT}")
    note(state, "project", digest)


def install_locked(state: dict[str, Any], *files: Path, quiet: bool = False) -> None:
    """Install locked requirements. The files are complete, so that nothing else comes along."""
    pip_install(state, "--require-hashes", *(f"--requirement={file}" for file in files), quiet=quiet)


def install_with_uv(state: dict[str, Any], *files: Path) -> bool:
    """Install locked requirements with uv, and return whether it could.

    It knows neither pip's settings nor its mirrors, and gives up soon: pip goes on from there, and says what is wrong.
    """
    install_locked(state, ROOT / "requirements" / UV)
    write_state(state | {"complete": False})
    options = ["--quiet", "--no-deps", "--require-hashes", f"--python={PYTHON}"]
    command = [VENV / "bin" / "uv", "pip", "install", *options, *(f"--requirement={file}" for file in files)]
    hasty = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "15"}
    done = subprocess.run(command, env=hasty | os.environ, check=False, capture_output=True)
    if done.returncode < 0:
        raise SetupError("uv was ended while it installed")
    write_state(state)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        print(f"uv could not install it, and pip tries instead; uv said: {said[-1].strip()}", flush=True)
    return done.returncode == 0


def pip_install(state: dict[str, Any], *arguments: str, quiet: bool = False) -> None:
    """Run pip install. Being killed in the middle leaves the state incomplete, so that the next run starts afresh."""
    write_state(state | {"complete": False})
    options = ["-qq", "--no-input", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([PYTHON, "-m", "pip", "install", *options, *arguments], check=False, capture_output=quiet)
    if done.returncode >= 0:
        write_state(state)  # pip that fails by itself leaves things as they were
    if done.returncode != 0:
        raise SetupError("pip could not install what is needed; see above")


def note(state: dict[str, Any], name: str, digest: str) -> None:
    """Remember what is installed now."""
    state["installed"][name] = digest
    write_state(state)


def write_state(state: dict[str, Any]) -> None:
    """Write the state whole or not at all."""
    beside = STATE.with_suffix(".new")
    beside.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    beside.replace(STATE)


class SetupError(Exception):
    """Setting up failed; the text says what to do."""


def fail(text: str) -> int:
    """Print the error and return the exit code."""
    print(text, file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupError as error:
        sys.exit(fail(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)
