"""A checkout: its places, and what lies there."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from engine.building.decision import Facts, Wheel, parse_cargo

NO_SOURCE = {"target", "tests", "benches", "__pycache__"}


class Tree:
    """The places of a checkout, and what lies there."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self.root = root
        self.environment = dict(environment)
        self.engine = root / "engine"
        self.target = self.engine / "target"
        self.log = self.target / "build.log"
        self.wheels = self.target / "wheels"
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / "turnout-engine.json"
        self.package = tomllib.loads((self.engine / "Cargo.toml").read_text(encoding="utf-8"))["package"]
        self.profile = environment.get("ENGINE_PROFILE") or "release"
        self.in_ci = environment.get("CI", "").lower() in {"true", "1"}

    def facts(self) -> Facts:
        """Look at everything."""
        return Facts(
            wanted=self.environment.get("ENGINE") != "off",
            given=self.given() if self.profile == "release" else None,
            built=self.built(),
            installed=self.installed(),
            cargo=self.cargo(),
            oldest_cargo=tuple(map(int, self.package["rust-version"].split("."))),
        )

    def sources(self) -> str:
        """Return a digest of all that a build depends on: sources, Cargo.lock, profile, flags and interpreter."""
        digest = hashlib.sha256()
        for part in (sys.version, sysconfig.get_platform(), self.profile, self.environment.get("RUSTFLAGS", "")):
            digest.update(part.encode() + b"\0")
        for path in sorted(self.engine.rglob("*")):
            place = path.relative_to(self.engine)
            if path.is_file() and not NO_SOURCE & set(place.parts) and path.suffix not in {".py", ".md"}:
                digest.update(str(place).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def given(self) -> Wheel | None:
        """Return the wheel in dist/ that can be taken in place of a build."""
        made, sources = self.made(), self.sources()
        fitting = [
            wheel
            for path in sorted((self.root / "dist").glob("turnout_engine-*.whl"))
            if fits(path.name, self.package["version"])
            and made.get((wheel := Wheel(path, digest_of(path))).digest, sources) == sources
        ]
        return fitting[-1] if fitting else None

    def built(self) -> Wheel | None:
        """Return the wheel that was built here of these very sources."""
        made, sources = self.made(), self.sources()
        for path in sorted(self.wheels.glob("*.whl")):
            wheel = Wheel(path, digest_of(path))
            if made.get(wheel.digest) == sources:
                return wheel
        return None

    def made(self) -> dict[str, str]:
        """Return the sources of each wheel that was ever built here."""
        return read_json(self.wheels / "made.json")

    def installed(self) -> str | None:
        """Return the digest of the wheel that this script installed, if that is still there."""
        there = any(self.venv.glob("lib/python*/site-packages/turnout_engine-*.dist-info"))
        return read_json(self.stamp).get("wheel") if there else None

    def cargo(self) -> tuple[int, ...] | None:
        """Return the version of the cargo on PATH, if it runs."""
        try:
            said = self.run("cargo", "--version", stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except OSError:
            return None
        return parse_cargo(said.stdout) if said.returncode == 0 else None

    def run(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command in engine/, found on the environment's PATH."""
        name = shutil.which(command[0], path=self.environment.get("PATH"))
        if name is None:
            raise FileNotFoundError(f"no {command[0]}")
        return subprocess.run(
            [name, *command[1:]], cwd=self.engine, env=self.environment | self.cargo_settings(), check=False, **options
        )

    def cargo_settings(self) -> dict[str, str]:
        """Return the variables that cargo runs with; what the caller has set stays.

        A registry that is out of reach is found out in seconds, but for CI, which tries harder.
        """
        settings = {
            "CARGO_TARGET_DIR": str(self.target),
            "CARGO_NET_RETRY": "2" if self.in_ci else "0",
            "CARGO_HTTP_TIMEOUT": "30" if self.in_ci else "5",
            "PYO3_PYTHON": str(self.python),
        }
        return {name: self.environment.get(name, value) for name, value in settings.items()}


def fits(name: str, version: str) -> bool:
    """Whether a wheel of this file name is of this version, and runs on this Python."""
    try:
        _, found, _, tags = parse_wheel_filename(name)
    except InvalidWheelFilename:
        return False
    return str(found) == version and not tags.isdisjoint(sys_tags())


def digest_of(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file; an empty one where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object whole or not at all."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)
