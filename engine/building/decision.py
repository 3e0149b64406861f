"""Where the engine comes from: values and functions that look at nothing by themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

REGISTRY_TROUBLE = re.compile(
    r"failed to download|download of .* failed|failed to query|failed to (fetch|get) |network|resolve host|connect to"
    r"|timed? ?out|unable to update|no matching package|said nothing for",
    re.IGNORECASE,
)
OUR_TROUBLE = re.compile(r"lock file|lockfile|failed to parse|--locked", re.IGNORECASE)


@dataclass(frozen=True)
class Wheel:
    """A wheel of the engine."""

    path: Path
    digest: str
    """Of its bytes."""


@dataclass(frozen=True)
class Facts:
    """All that the decision depends on."""

    wanted: bool
    given: Wheel | None
    """In dist/, for this version and this Python, and not made here of other sources."""
    built: Wheel | None
    """Built here of just these sources."""
    installed: str | None
    """The digest of the wheel that is installed; None for none."""
    cargo: tuple[int, ...] | None
    """The version of the cargo on PATH; None for none."""
    oldest_cargo: tuple[int, ...]


@dataclass(frozen=True)
class Keep:
    """The engine that is installed is the right one."""


@dataclass(frozen=True)
class Install:
    """Install this wheel."""

    wheel: Wheel


@dataclass(frozen=True)
class Build:
    """Build a wheel with cargo, then install it."""


@dataclass(frozen=True)
class Without:
    """Go without the engine."""

    why: str
    wrong: bool = False
    """Whether CI is to fail for it."""


def decide(facts: Facts) -> Keep | Install | Build | Without:
    """Say where the engine comes from: dist/, else what was built of these sources, else cargo, else nowhere."""
    if not facts.wanted:
        return Without("ENGINE=off")
    wheel = facts.given or facts.built
    if wheel is not None:
        return Keep() if wheel.digest == facts.installed else Install(wheel)
    if facts.cargo is None:
        return Without("no cargo here")
    if facts.cargo < facts.oldest_cargo:
        found, oldest = (".".join(map(str, one)) for one in (facts.cargo, facts.oldest_cargo))
        return Without(f"cargo {found} is too old, the engine needs {oldest}", wrong=True)
    return Build()


def blame(output: str) -> Literal["registry", "sources"]:
    """Say what made `cargo fetch` fail: a registry that is out of reach, or something of ours."""
    return "registry" if REGISTRY_TROUBLE.search(output) and not OUR_TROUBLE.search(output) else "sources"


def parse_cargo(text: str) -> tuple[int, ...] | None:
    """Read the version from what `cargo --version` says; None if that is something else."""
    version = re.search(r"^cargo (\d+)\.(\d+)", text)
    return tuple(map(int, version.groups())) if version else None


def first_error(output: str) -> str:
    """Return a build's first line about an error, without its place."""
    found = re.search(r"^(?:\s*)(error\b.*|.*\berror: .*)$", output, re.MULTILINE)
    return found[1].strip()[:160] if found else "no error was named"
