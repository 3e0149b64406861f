"""The fuzz targets of the engine: how they are built, with nothing but a stable toolchain."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

CRATE = Path(__file__).parent / "engine"


def environment(root: Path) -> dict[str, str]:
    """Return what cargo and the program run with; a CARGO_TARGET_DIR of the caller's stays."""
    settings = {
        "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR") or str(root / "build" / "fuzz" / "target"),
        "PYO3_PYTHON": sys.executable,
        "RUSTC_WRAPPER": str(CRATE / "instrument"),
    }
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        name = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
        places = [sysconfig.get_config_var("LIBDIR"), os.environ.get(name)]
        settings[name] = os.pathsep.join(place for place in places if place)
    return os.environ | settings


def built(root: Path) -> Path | None:
    """Build the program that has all targets; return it, or None where there is no cargo.

    Raises:
        subprocess.CalledProcessError: it does not build; cargo has said why.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        return None
    settings = environment(root)
    subprocess.run([cargo, "build", "--release", "--locked", "--quiet"], cwd=CRATE, env=settings, check=True)
    return Path(settings["CARGO_TARGET_DIR"]) / "release" / "turnout-fuzz"


def check(root: Path) -> int:
    """Run rustfmt and clippy over the targets; return the exit code."""
    cargo = shutil.which("cargo")
    if cargo is None:
        return 0
    settings = environment(root)
    del settings["RUSTC_WRAPPER"]
    clippy = ("clippy", "--no-deps", "--locked", "--", "-D", "warnings")
    commands = (("fmt", "--check"), clippy)
    return max(subprocess.run([cargo, *one], cwd=CRATE, env=settings, check=False).returncode for one in commands)
