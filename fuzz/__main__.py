"""Try targets, each for so long: `make fuzz`, or

    .venv/bin/python -m fuzz                         all of them, a minute each
    .venv/bin/python -m fuzz --seconds 600 infer     one, for ten
    .venv/bin/python -m fuzz --seconds 0             the corpus alone
    .venv/bin/python -m fuzz infer --input FILE      one input, again

It prints a line for each target and fails where there was a crash, whose input it keeps. docs/fuzzing.md says more.
"""  # noqa: D415

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fuzz import corpus, crate, http2
from fuzz.targets import TARGETS as PYTHON

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "fuzz"
"""What fuzzers find, and what they crash with."""
ENGINE = (
    "authority",
    "frames",
    "frames-made",
    "opening",
    "trace",
    "messages",
    "inflate",
    "inflate-made",
    "values",
    "values-made",
    "infer",
    "infer-made",
    "signature",
    "signature-made",
    "typed",
    "typed-made",
    "table",
    "table-made",
)
"""As `engine/src/main.rs` has them."""
HTTP2 = "http2"
ALL = (*ENGINE, *PYTHON, HTTP2)
LONGEST = 4096
"""Bytes of an input. Longer ones find little more, and take longer."""
SLOW_S = 60
"""An input that takes so long is as bad as a crash. None takes a second; a machine that is busy may be as slow."""


class Told(NamedTuple):
    """How a target fared."""

    runs: int
    per_s: float
    covered: str
    crash: Path | None


def main() -> int:
    """Try what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="fuzz", description="Try targets with inputs that nobody would send.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(ALL))
    parser.add_argument("--seconds", type=int, default=60, help="for each target; 0 tries the corpus alone")
    parser.add_argument("--input", type=Path, help="try the one target with this file, once")
    parser.add_argument("--check", action="store_true", help="rustfmt and clippy over the engine's targets")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(ALL):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if asked.check:
        return crate.check(ROOT)
    targets = asked.targets or ALL
    try:
        program = crate.built(ROOT) if any(target in ENGINE for target in targets) else None
    except subprocess.CalledProcessError:
        print("the engine's targets did not build; cargo says why above", file=sys.stderr)
        return 1
    if asked.input is not None:
        return again(targets[0], asked.input, program)
    print(f"{'target':16}{'inputs':>12}{'a second':>10}  coverage", flush=True)
    crashed = []
    for target in targets:
        told = tried(target, asked.seconds, program)
        if isinstance(told, str):
            print(f"{target:16}{told}", flush=True)
            continue
        print(f"{target:16}{told.runs:12,}{told.per_s:10,.0f}  {told.covered}", flush=True)
        if told.crash is not None:
            crashed.append(target)
            print(
                f"    crashed; again: {shown(sys.executable)} -m fuzz {target} --input {shown(told.crash)}", flush=True
            )
    print(f"crashed: {', '.join(crashed)}" if crashed else "no crash")
    return 1 if crashed else 0


def shown(path: str | Path) -> str:
    """Return a path as people write it who are at the repository's top."""
    return str(path).removeprefix(f"{ROOT}/")


def tried(target: str, seconds: int, program: Path | None) -> Told | str:
    """Try one target; return how it fared, or why it was left out."""
    if target == HTTP2:
        report = http2.tried(seconds, KEPT / target)
        return Told(report.conversations, report.conversations / max(report.took_s, 0.001), str(report), report.crash)
    if target in ENGINE and program is None:
        return "left out: no cargo here"
    if target in PYTHON and importlib.util.find_spec("atheris") is None:
        return "left out: atheris is not installed (requirements/fuzz.txt)"
    folder = KEPT / target
    corpus.lay_out(target, folder / "corpus")
    before = set(folder.glob("*-*"))
    runs = ["-runs=0"] if seconds == 0 else [f"-max_total_time={seconds}"]
    options = [
        *runs,
        f"-max_len={LONGEST}",
        f"-timeout={SLOW_S}",
        f"-report_slow_units={SLOW_S}",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    log = folder / "log"
    began = time.monotonic()
    with log.open("wb") as output:
        done = subprocess.run(
            [*command(target, program), *options, f"-artifact_prefix={folder}/", str(folder / "corpus")],
            env=environment(target),
            stdout=output,
            stderr=output,
            cwd=ROOT,
            check=False,
        )
    said = log.read_text("utf-8", "replace")
    found = sorted(set(folder.glob("*-*")) - before)
    crash = found[0] if found else log if done.returncode != 0 else None
    return fared(said, time.monotonic() - began, crash)


def fared(said: str, took_s: float, crash: Path | None) -> Told:
    """Return what libFuzzer said at its end, or on its last line."""
    runs = re.findall(r"stat::number_of_executed_units:\s*(\d+)", said) or re.findall(r"^#(\d+)\s", said, re.MULTILINE)
    cover = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", said)
    edges, features, kept = cover[-1] if cover else ("0", "0", "0")
    count = int(runs[-1]) if runs else 0
    return Told(count, count / max(took_s, 0.001), f"{edges} edges, {features} features, {kept} inputs kept", crash)


def again(target: str, file: Path, program: Path | None) -> int:
    """Try one input, where everything it says can be seen; return the exit code."""
    if target == HTTP2:
        return http2.again(file)
    if target in PYTHON:
        PYTHON[target](file.read_bytes())
        return 0
    return subprocess.run(
        [*command(target, program), str(file)], env=environment(target), cwd=ROOT, check=False
    ).returncode


def command(target: str, program: Path | None) -> list[str]:
    """Return what tries a target, but for libFuzzer's options."""
    return [str(program)] if target in ENGINE else [sys.executable, "-m", "fuzz.guided", target]


def environment(target: str) -> Mapping[str, str]:
    """Return what it runs with."""
    if target in ENGINE:
        return crate.environment(ROOT) | {"TURNOUT_FUZZ_TARGET": target, "RUST_BACKTRACE": "1"}
    paths = [str(ROOT), str(ROOT / "server"), str(ROOT / "clients" / "python"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


if __name__ == "__main__":
    sys.exit(main())
