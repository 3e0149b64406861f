"""Write `engine/LICENSES.md`, the licences of all crates in Cargo.lock, or check that it is up to date.

    .venv/bin/python -m engine.licenses             write it, from `cargo metadata` (make lock)
    .venv/bin/python -m engine.licenses --check     compare it with Cargo.lock, without cargo and without a network

A release of a crate never changes its licence, so that a table with the releases of Cargo.lock is up to date.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ENGINE = Path(__file__).resolve().parent
TABLE = ENGINE / "LICENSES.md"
OWN = "turnout-engine"
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}
"""Licences that ask for no more than to be named."""
HEAD = """# Licences of the engine's crates

All that `Cargo.lock` names, for every platform, and for building too. `make lock` writes this page, `make check-rust`
compares it.

| crate | release | licence |
|---|---|---|
"""

Crate = tuple[str, str]
"""A crate's name and release."""


def locked(text: str) -> set[Crate]:
    """Return the crates of a Cargo.lock, but for our own."""
    return {(one["name"], one["version"]) for one in tomllib.loads(text)["package"] if one["name"] != OWN}


def render(licenses: dict[Crate, str]) -> str:
    """Return the page."""
    rows = (f"| {name} | {version} | {license} |" for (name, version), license in sorted(licenses.items()))
    return HEAD + "\n".join(rows) + "\n"


def parse(page: str) -> dict[Crate, str]:
    """Return what a page says; the opposite of `render`."""
    rows = re.findall(r"^\| (\S+) \| (\d\S*) \| (.+) \|$", page, re.MULTILINE)
    return {(name, version): license for name, version, license in rows}


def allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met with licences that are allowed; `/` is an old way to write OR."""
    tokens = re.findall(r"[()]|[^()\s]+", expression.replace("/", " OR "))
    return bool(tokens) and _any(tokens) and not tokens


def _any(tokens: list[str]) -> bool:
    good = _all(tokens)
    while tokens[:1] == ["OR"]:
        tokens.pop(0)
        good = _all(tokens) or good
    return good


def _all(tokens: list[str]) -> bool:
    good = _one(tokens)
    while tokens[:1] == ["AND"]:
        tokens.pop(0)
        good = _one(tokens) and good
    return good


def _one(tokens: list[str]) -> bool:
    first = tokens.pop(0) if tokens else ""
    if first == "(":
        good = _any(tokens)
        return tokens[:1] == [")"] and tokens.pop(0) == ")" and good
    if tokens[:1] == ["WITH"]:
        first = " ".join([first, *tokens[:2]])
        del tokens[:2]
    return first in ALLOWED


def problems(lock: str, page: str) -> list[str]:
    """Return what is wrong with a page, given a Cargo.lock; nothing when it is up to date."""
    crates, said = locked(lock), parse(page)
    wrong = [f"{name} {version} is not in it" for name, version in sorted(crates - said.keys())]
    wrong += [f"{name} {version} is no longer in Cargo.lock" for name, version in sorted(said.keys() - crates)]
    wrong += [f"{name} {version}: {text}" for (name, version), text in sorted(said.items()) if not allowed(text)]
    return wrong or ([] if page == render(said) else ["it was edited by hand"])


def ask_cargo() -> dict[Crate, str]:
    """Have cargo say the licences of all crates; it fetches those that are not there yet."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    answer = json.loads(subprocess.run(command, cwd=ENGINE, check=True, stdout=subprocess.PIPE).stdout)
    return {
        (one["name"], one["version"]): one["license"] or f"file {one['license_file']}"
        for one in answer["packages"]
        if one["name"] != OWN
    }


def main(arguments: list[str]) -> int:
    """Write or check; return the exit code."""
    lock = (ENGINE / "Cargo.lock").read_text(encoding="utf-8")
    if arguments != ["--check"]:
        try:
            TABLE.write_text(render(ask_cargo()), encoding="utf-8")
        except FileNotFoundError:
            print("no cargo here: engine/LICENSES.md stays as it is")
        except subprocess.CalledProcessError:
            print("cargo could not say the licences; see above", file=sys.stderr)
            return 1
    wrong = problems(lock, TABLE.read_text(encoding="utf-8"))
    for problem in wrong:
        print(f"engine/LICENSES.md: {problem}; make lock writes it anew", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
