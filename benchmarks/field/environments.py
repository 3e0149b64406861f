"""The rivals' virtual environments, made on first use from locked, hashed requirements."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
_STAMP = "requirements.sha256"


class InstallError(Exception):
    """A rival could not be installed; the text says why."""


def python_of(name: str, cache: Path) -> Path:
    """Return the Python of rival *name*'s environment under *cache*, which is made or made anew if need be.

    Raises:
        InstallError: it cannot be made.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    place = cache / name
    python = place / "bin" / "python"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    stamp = place / _STAMP
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return python
    print(f"installing {name} into {place}, once", file=sys.stderr, flush=True)
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    # The `python` of a venv cannot found another one; its base can.
    _run([getattr(sys, "_base_executable", sys.executable), "-m", "venv", str(place)], name)
    pip = [str(python), "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check", "--no-deps"]
    _run([*pip, "--require-hashes", "--requirement", str(requirements)], name)
    stamp.write_text(digest, encoding="utf-8")  # last: an installation that was broken off is made anew
    return python


def version_of(name: str) -> str:
    """Return the locked version of the package *name*, from rival *name*'s requirements."""
    for line in (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}=="):
            return line.removeprefix(f"{name}==").split()[0]
    raise InstallError(f"{name}.txt does not lock {name}")


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InstallError(f"cannot install {name}: {' '.join(command)}\n{(done.stdout + done.stderr).strip()}")
