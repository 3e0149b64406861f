"""Make what TypeScript runs: npm's packages, stubs from `protos/`, and JavaScript in `dist/`.

    make typescript                             or, as the tests do: python clients/typescript/build.py

Nothing is done where nothing has changed since. It needs Node.js from 20 on with npm, and buf.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STAMP = HERE / "dist/.made-of"
"""The digest of what `dist/` was made of; written last."""
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")


class BuildError(Exception):
    """A step failed; the message has its output."""


def missing() -> str:
    """Return which program is missing; empty when none is."""
    return next((program for program in ("node", "npm") if shutil.which(program) is None), "")


def build() -> None:
    """Make everything, one process at a time.

    Raises:
        BuildError: a step failed.
    """
    (HERE / "dist").mkdir(exist_ok=True)
    with (HERE / "dist/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made_of = _digest()
        if STAMP.exists() and STAMP.read_text() == made_of:
            return
        _run(INSTALL, HERE)
        _run((_buf(), "generate", "--template", "clients/typescript/buf.gen.yaml"), ROOT)
        _run(("npm", "run", "--silent", "build"), HERE)
        STAMP.write_text(made_of)


def _digest() -> str:
    sources = [*ROOT.glob("protos/**/*.proto"), *HERE.glob("errors/**/*.proto"), *HERE.glob("src/*.ts")]
    sources += [HERE / name for name in ("package.json", "package-lock.json", "tsconfig.json", "buf.gen.yaml")]
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(f"{source.relative_to(ROOT)}\n".encode() + source.read_bytes())
    return digest.hexdigest()


def _buf() -> str:
    """Return buf, which Python's environment has."""
    beside = Path(sys.executable).with_name("buf")
    return str(beside) if beside.exists() else "buf"


def _run(command: Sequence[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    try:
        build()
    except (BuildError, FileNotFoundError) as error:
        sys.exit(str(error))
