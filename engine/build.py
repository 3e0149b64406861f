"""Get the engine into `.venv`, or say in one line why it is not there; `make` calls it, from the top.

    .venv/bin/python -m engine.build install     a wheel from dist/, else one built here, else none (make setup)
    .venv/bin/python -m engine.build wheel       build, and put the wheel into dist/ (make wheel)
    .venv/bin/python -m engine.build check       rustfmt and clippy (make check-rust)
    .venv/bin/python -m engine.build format      rustfmt, which changes files (make fmt)
    .venv/bin/python -m engine.build test        the crate's own tests (make test-engine)

Without an engine Turnout serves with its portable data plane, so `install` fails for CI=true alone: there a build has
to succeed where cargo and its registry are. ENGINE=off leaves the engine out; ENGINE_PROFILE names another of
Cargo.toml's profiles than `release`.

What is built is remembered by content, never by date: `engine/target/wheels/made.json` says of which sources each wheel
is, and `.venv/turnout-engine.json` which wheel is installed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from engine.building.decision import Build, Install, Wheel, Without, blame, decide, first_error
from engine.building.progress import Ended, end_with_what_was_started, watched
from engine.building.tree import Tree, digest_of, write_json

PORTABLE = "serving with the portable data plane"
HOW = "docs/engine.md says how to get the engine"
FETCH_SILENT_S = 15.0
"""How long cargo may say nothing while it fetches, in seconds."""


def install(tree: Tree) -> int:
    """Do what is decided, and return the exit code: 0, unless CI has to fail."""
    action = decide(tree.facts())
    if isinstance(action, Build):
        done = build(tree)
        action = done if isinstance(done, Without) else Install(done)
    match action:
        case Install(wheel):
            pip_install(tree, wheel)
        case Without(why, wrong):
            remove(tree)
            if why != "ENGINE=off":
                print(f"{why}: {PORTABLE}" + (f" ({HOW})" if not wrong else ""), flush=True)
            if wrong and tree.in_ci:
                return 1
    return 0


def wheel(tree: Tree) -> int:
    """Put a wheel of these sources into dist/; return the exit code."""
    found = tree.built()
    if found is None:
        done = build(tree) if tree.cargo() is not None else Without("no cargo here")
        if isinstance(done, Without):
            print(f"{done.why}: no wheel of the engine", file=sys.stderr)
            return 1
        found = done
    (tree.root / "dist").mkdir(exist_ok=True)
    shutil.copyfile(found.path, tree.root / "dist" / found.path.name)
    print(f"dist/{found.path.name}")
    return 0


def build(tree: Tree) -> Wheel | Without:
    """Build a wheel with maturin; return it, or why there is none."""
    tree.wheels.mkdir(parents=True, exist_ok=True)
    unfit = fetched(tree)
    if unfit is not None:
        return unfit
    sources, started = tree.sources(), time.monotonic()
    if not has_maturin(tree):
        return Without(f"maturin could not be installed ({relative(tree.log)})", wrong=True)
    maturin = tree.venv / "bin" / "maturin"
    new = tree.wheels / "new"  # beside the old one, which sources that go back to what they were need again
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    profile = ["--profile", tree.profile]
    command = [maturin, "build", "--locked", "--offline", *profile, "--interpreter", tree.python, "--out", new]
    ended = perform(tree, f"Building the engine {tree.package['version']} ({tree.profile})", *command)
    made = sorted(new.glob("*.whl"))
    if ended.code != 0 or not made:
        return Without(f"the engine did not build, {first_error(ended.output)} ({relative(tree.log)})", wrong=True)
    for old in tree.wheels.glob("*.whl"):
        old.unlink()
    path = made[-1].rename(tree.wheels / made[-1].name)
    wheel = Wheel(path, digest_of(path))
    write_json(tree.wheels / "made.json", tree.made() | {wheel.digest: sources})
    print(f"Built the engine {tree.package['version']} in {time.monotonic() - started:.0f} s", flush=True)
    return wheel


def has_maturin(tree: Tree) -> bool:
    """Have the locked maturin installed; return whether it is. Nobody else needs it."""
    hasty = {} if tree.in_ci else {"PIP_RETRIES": "0", "PIP_DEFAULT_TIMEOUT": "15"}
    command = [tree.python, tree.root / "requirements" / "install.py", "engine"]
    done = subprocess.run(command, env=hasty | tree.environment, stderr=subprocess.PIPE, check=False)
    tree.log.write_bytes(done.stderr)
    return done.returncode == 0


def fetched(tree: Tree) -> Without | None:
    """Have cargo fetch what the engine depends on; return why that can't be had, else None.

    For every platform: maturin asks `cargo metadata` first, which wants the sources of all.
    """
    fetch = ("fetch", "--locked")
    if tree.run("cargo", *fetch, "--offline", stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
        return None
    program = shutil.which("cargo", path=tree.environment.get("PATH"))
    ended = perform(tree, "Fetching what the engine depends on", program or "cargo", *fetch, silent_s=FETCH_SILENT_S)
    if ended.code == 0:
        return None
    if blame(ended.output) == "registry":
        return Without(f"cargo's registry is out of reach ({relative(tree.log)})")
    return Without(f"cargo could not fetch, {first_error(ended.output)} ({relative(tree.log)})", wrong=True)


def perform(tree: Tree, what: str, *command: str | Path, silent_s: float | None = None) -> Ended:
    """Run a long command with its progress shown and its output in the log."""
    tree.log.parent.mkdir(parents=True, exist_ok=True)
    environment = tree.environment | tree.cargo_settings()
    return watched(what, list(map(str, command)), tree.engine, environment, tree.log, silent_s)


def pip_install(tree: Tree, wheel: Wheel) -> None:
    """Install a wheel in place of whichever is installed."""
    options = ["-qq", "--no-input", "--disable-pip-version-check", "--no-deps", "--no-index", "--force-reinstall"]
    tree.stamp.unlink(missing_ok=True)
    subprocess.run([tree.python, "-m", "pip", "install", *options, wheel.path], env=tree.environment, check=True)
    write_json(tree.stamp, {"wheel": wheel.digest})
    if wheel.path.parent.name == "dist":
        print(f"Installed dist/{wheel.path.name}", flush=True)


def remove(tree: Tree) -> None:
    """Take out an engine that this script installed and that is not of these sources."""
    if tree.installed() is not None:
        command = [tree.python, "-m", "pip", "uninstall", "-qq", "--yes", "--disable-pip-version-check"]
        subprocess.run([*command, "turnout-engine"], env=tree.environment, check=True)
    tree.stamp.unlink(missing_ok=True)


def check(tree: Tree) -> int:
    """Run rustfmt and clippy; return the exit code."""
    return with_cargo(
        tree,
        ("fmt", "--check"),
        ("clippy", "--all-targets", "--locked", "--offline", "--", "-D", "warnings"),
    )


def format_sources(tree: Tree) -> int:
    """Run rustfmt, where it is; return the exit code."""
    return tree.run("cargo", "fmt").returncode if tree.cargo() is not None else 0


def test(tree: Tree) -> int:
    """Run the crate's tests, which are linked with Python; return the exit code."""
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        name = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
        places = [sysconfig.get_config_var("LIBDIR"), tree.environment.get(name)]
        tree.environment[name] = os.pathsep.join(place for place in places if place)
    return with_cargo(tree, ("test", "--locked", "--offline"))


def with_cargo(tree: Tree, *commands: tuple[str, ...]) -> int:
    """Run all of the commands where cargo and its registry are; elsewhere say that they are not, an error in CI."""
    unfit = Without("no cargo here") if tree.cargo() is None else fetched(tree)
    if unfit is not None:
        print(f"{unfit.why}: the engine's sources are not looked at", flush=True)
        return 1 if tree.in_ci or unfit.wrong else 0
    return max(min(tree.run("cargo", *command).returncode, 1) for command in commands)


def relative(path: Path) -> str:
    """Return a path of the checkout as people write it."""
    return "/".join(path.parts[path.parts.index("engine", -3) :])


COMMANDS = {"install": install, "wheel": wheel, "check": check, "format": format_sources, "test": test}


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: build.py {' | '.join(COMMANDS)}", file=sys.stderr)
        return 2
    end_with_what_was_started()
    with Path(__file__).open() as own_source:
        try:
            fcntl.flock(own_source, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another make, which is at the engine", flush=True)
            fcntl.flock(own_source, fcntl.LOCK_EX)
        try:
            return COMMANDS[arguments[0]](Tree(Path(__file__).resolve().parent.parent, os.environ))
        except subprocess.CalledProcessError as error:
            print(f"{' '.join(map(str, error.cmd[:4]))} failed; see above", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
