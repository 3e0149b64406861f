"""The crate of the fuzz targets of the engine."""

from __future__ import annotations

import tomllib
from pathlib import Path

from fuzz.crate import CRATE

ENGINE = Path(__file__).parents[2] / "engine"


def test_its_lock_knows_what_the_engine_is_made_of() -> None:
    # It is built with --locked: a crate that the engine has got since would be refused.
    needed = set(tomllib.loads((ENGINE / "Cargo.toml").read_text())["dependencies"])
    packages = tomllib.loads((CRATE / "Cargo.lock").read_text())["package"]
    (engine,) = (package for package in packages if package["name"] == "turnout-engine")
    assert needed == {name.split()[0] for name in engine["dependencies"]}
