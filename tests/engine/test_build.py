"""Where the engine comes from, with a cargo, a maturin and a pip that only pretend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.tags import sys_tags

from engine.build import check, install, wheel
from engine.building.decision import (
    Build,
    Facts,
    Install,
    Keep,
    Wheel,
    Without,
    blame,
    decide,
    first_error,
    parse_cargo,
)
from engine.building.progress import watched
from engine.building.tree import Tree, fits

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "engine/Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
TAG = next(tag for tag in sys_tags() if tag.abi == "abi3")
WHEEL = f"turnout_engine-{VERSION}-{TAG}.whl"

CARGO = """#!/bin/sh
echo "cargo $*" >> "$CALLS"
case "$1" in
    --version) echo "cargo $CARGO_IS (abc 2026-01-01)" ;;
    fetch)
        case "$*" in *--offline) test -e "$FETCHED"; exit ;; esac
        test -z "$FETCH_FAILS" || { echo "$FETCH_FAILS" >&2; exit 101; }
        touch "$FETCHED" ;;
    *) test -z "$BUILD_FAILS" ;;
esac
"""
MATURIN = """#!/bin/sh
echo "maturin $*" >> "$CALLS"
echo "   Compiling tokio v1.54.1"
test -z "$BUILD_FAILS" || { echo "$BUILD_FAILS" >&2; exit 1; }
while [ "$1" != --out ]; do shift; done
cat "$SOURCE" > "$2/$WHEEL"
"""
PYTHON = """#!/bin/sh
echo "python $*" >> "$CALLS"
place="$VENV/lib/python3/site-packages/turnout_engine-1.dist-info"
case "$*" in
    *install.py*) test -z "$NO_MATURIN" || { echo "$NO_MATURIN" >&2; exit 1; } ;;
    *"pip install"*) mkdir -p "$place" ;;
    *"pip uninstall"*) rmdir "$place" ;;
esac
"""


class Checkout:
    """A checkout with a crate of one file, and programs that note how they are called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "engine/src/lib.rs"
        self.source.parent.mkdir(parents=True)
        self.source.write_text("first")
        for name in ("Cargo.toml", "Cargo.lock", "pyproject.toml"):
            shutil.copy(ROOT / "engine" / name, root / "engine")
        self.calls_file = root / "calls"
        self.environment = {
            "PATH": f"{root / 'path'}:/usr/bin:/bin",
            "CALLS": str(self.calls_file),
            "CARGO_IS": "1.95.0",
            "FETCHED": str(root / "fetched"),
            "SOURCE": str(self.source),
            "VENV": str(root / ".venv"),
            "WHEEL": WHEEL,
        }
        self.program("path/cargo", CARGO)
        self.program(".venv/bin/maturin", MATURIN)
        self.program(".venv/bin/python", PYTHON)

    def program(self, place: str, text: str) -> None:
        """Write a program."""
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def tree(self, **environment: str) -> Tree:
        """Return the checkout as the script sees it."""
        return Tree(self.root, self.environment | environment)

    def calls(self) -> list[str]:
        """Return what was called since the last time, each as its program and first word that matters."""
        text = self.calls_file.read_text() if self.calls_file.exists() else ""
        self.calls_file.unlink(missing_ok=True)
        words = [line.split() for line in text.splitlines()]
        return [f"{one[0]} {one[3] if one[1] == '-m' else one[1].rpartition('/')[2]}" for one in words]

    def give(self, name: str, content: bytes = b"given") -> None:
        """Put a wheel into dist/."""
        (self.root / "dist").mkdir(exist_ok=True)
        (self.root / "dist" / name).write_bytes(content)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was printed since the last time."""
    return lambda: capfd.readouterr().out


# ---------------------------------------------------------------- the decision

CARGO_HERE = (1, 95)
NOTHING = Facts(wanted=True, given=None, built=None, installed=None, cargo=CARGO_HERE, oldest_cargo=(1, 85))
GIVEN, BUILT = Wheel(Path("dist/a.whl"), "given"), Wheel(Path("b.whl"), "built")


@pytest.mark.parametrize(
    ("facts", "action"),
    [
        (NOTHING, Build()),
        (replace(NOTHING, installed="older"), Build()),
        (replace(NOTHING, cargo=None), Without("no cargo here")),
        (replace(NOTHING, cargo=(1, 84)), Without("cargo 1.84 is too old, the engine needs 1.85", True)),
        (replace(NOTHING, built=BUILT), Install(BUILT)),
        (replace(NOTHING, built=BUILT, cargo=None), Install(BUILT)),
        (replace(NOTHING, built=BUILT, installed="built"), Keep()),
        (replace(NOTHING, built=BUILT, given=GIVEN), Install(GIVEN)),
        (replace(NOTHING, built=BUILT, given=GIVEN, installed="built"), Install(GIVEN)),
        (replace(NOTHING, given=GIVEN, installed="given", cargo=None), Keep()),
        (replace(NOTHING, wanted=False, given=GIVEN, built=BUILT), Without("ENGINE=off")),
    ],
)
def test_a_wheel_comes_before_a_build_and_a_build_before_going_without(facts: Facts, action: object) -> None:
    assert decide(facts) == action


@pytest.mark.parametrize(
    ("output", "whose"),
    [
        ("error: failed to download from `https://x/`\nCaused by: [7] Could not connect to server", "registry"),
        ("warning: spurious network error (3 tries remaining)", "registry"),
        ("error: failed to get `h2`\nCaused by: [28] Timeout was reached", "registry"),
        ("stopped: it said nothing for 15 s", "registry"),
        ("error: cannot update the lock file Cargo.lock because --locked was passed", "sources"),
        ("error: failed to parse manifest at `Cargo.toml`", "sources"),
        ("error: no override and no default toolchain set", "sources"),
    ],
)
def test_a_registry_out_of_reach_is_told_from_what_is_wrong_with_us(output: str, whose: str) -> None:
    assert blame(output) == whose


def test_what_cargo_says_of_itself() -> None:
    text = "cargo 1.95.0 (f2d3ce0bd 2026-03-21)\nrelease: 1.95.0\n"
    assert parse_cargo(text) == (1, 95)
    assert parse_cargo("info: no toolchain") is None


def test_the_first_error_of_a_build_is_named() -> None:
    output = (
        "   Compiling a v1\nwarning: unused\nerror[E0425]: cannot find value `x`\n --> src/lib.rs\nerror: aborting\n"
    )
    assert first_error(output) == "error[E0425]: cannot find value `x`"
    assert first_error("Killed") == "no error was named"


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        (WHEEL, True),
        (f"turnout_engine-9.9-{TAG}.whl", False),
        (f"turnout_engine-{VERSION}-cp311-abi3-win32.whl", False),
        (f"turnout_engine-{VERSION}.whl", False),
    ],
)
def test_a_wheel_fits_by_version_and_platform(name: str, fitting: bool) -> None:
    assert fits(name, VERSION) is fitting


# ---------------------------------------------------------------- what is done


def test_the_first_time_builds_and_the_second_does_nothing(checkout: Checkout, said: Callable[[], str]) -> None:
    assert install(checkout.tree()) == 0
    assert f"Built the engine {VERSION} in " in said()
    first = checkout.calls()
    assert first[-3:] == ["python install.py", "maturin build", "python install"]
    assert install(checkout.tree()) == 0
    assert (checkout.calls(), said()) == (["cargo --version"], "")


def test_dates_do_not_count_and_content_does(checkout: Checkout) -> None:
    install(checkout.tree())
    checkout.calls()
    os.utime(checkout.source, (1, 1))
    install(checkout.tree())
    assert "maturin build" not in checkout.calls()
    checkout.source.write_text("second")
    install(checkout.tree())
    assert checkout.calls()[-2:] == ["maturin build", "python install"]


@pytest.mark.parametrize("place", ["Cargo.lock", "Cargo.toml", "src/new.rs", "turnout_engine.pyi"])
def test_what_a_build_depends_on(checkout: Checkout, place: str) -> None:
    before = checkout.tree().sources()
    with (checkout.root / "engine" / place).open("a") as file:
        file.write("\n")
    assert checkout.tree().sources() != before


@pytest.mark.parametrize("place", ["target/debug/x", "tests/it.rs", "LICENSES.md", "build.py"])
def test_what_a_build_does_not_depend_on(checkout: Checkout, place: str) -> None:
    before = checkout.tree().sources()
    (checkout.root / "engine" / place).parent.mkdir(parents=True, exist_ok=True)
    (checkout.root / "engine" / place).write_text("x")
    assert checkout.tree().sources() == before


def test_another_profile_other_flags_and_another_python_are_another_build(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {checkout.tree().sources(), checkout.tree(ENGINE_PROFILE="dev").sources()}
    sources.add(checkout.tree(RUSTFLAGS="-C target-cpu=native").sources())
    monkeypatch.setattr(sys, "version", "another")
    sources.add(checkout.tree().sources())
    assert len(sources) == 4


def test_without_cargo_one_line_says_so(checkout: Checkout, said: Callable[[], str]) -> None:
    (checkout.root / "path/cargo").unlink()
    assert install(checkout.tree(CI="true")) == 0
    line = "no cargo here: serving with the portable data plane (docs/engine.md says how to get the engine)\n"
    assert (said(), checkout.calls()) == (line, [])


def test_without_its_registry_one_line_says_so_and_nothing_is_built(
    checkout: Checkout, said: Callable[[], str]
) -> None:
    trouble = "error: failed to download from `x`: Could not connect to server"
    assert install(checkout.tree(FETCH_FAILS=trouble, CI="true")) == 0
    *_, line = said().splitlines()
    assert line.startswith("cargo's registry is out of reach (engine/target/build.log): serving with the portable")
    assert checkout.calls() == ["cargo --version", "cargo fetch", "cargo fetch"]
    assert trouble in (checkout.root / "engine/target/build.log").read_text()


@pytest.mark.parametrize(
    "failure", [{"BUILD_FAILS": "error: no linker"}, {"FETCH_FAILS": "error: no linker"}, {"CARGO_IS": "1.84.1"}]
)
def test_a_build_that_fails_is_one_line_and_fails_in_ci(
    checkout: Checkout, said: Callable[[], str], failure: dict[str, str]
) -> None:
    assert install(checkout.tree(**failure)) == 0
    *_, line = said().splitlines()
    assert line.endswith(": serving with the portable data plane")
    assert ("error: no linker (engine/target/build.log)" in line) == ("CARGO_IS" not in failure)
    assert install(checkout.tree(**failure, CI="true")) == 1


def test_without_maturin_one_line_says_so(checkout: Checkout, said: Callable[[], str]) -> None:
    assert install(checkout.tree(NO_MATURIN="no such host")) == 0
    assert said().splitlines()[-1].startswith("maturin could not be installed (engine/target/build.log): serving")
    assert checkout.calls()[-1] == "python install.py"
    assert (checkout.root / "engine/target/build.log").read_text() == "no such host\n"


def test_an_engine_of_older_sources_does_not_stay(checkout: Checkout) -> None:
    install(checkout.tree())
    checkout.source.write_text("broken")
    checkout.calls()
    install(checkout.tree(BUILD_FAILS="error: broken"))
    assert checkout.calls()[-1] == "python uninstall"
    assert checkout.tree().installed() is None
    checkout.source.write_text("first")
    install(checkout.tree())
    assert checkout.calls() == ["cargo --version", "python install"]


def test_an_engine_that_was_taken_out_by_hand_is_put_back(checkout: Checkout) -> None:
    install(checkout.tree())
    shutil.rmtree(checkout.root / ".venv/lib")
    checkout.calls()
    install(checkout.tree())
    assert checkout.calls()[-1] == "python install"


def test_a_wheel_in_dist_is_taken_in_place_of_a_build(checkout: Checkout, said: Callable[[], str]) -> None:
    checkout.give(WHEEL)
    assert install(checkout.tree()) == 0
    assert (checkout.calls(), said()) == (["cargo --version", "python install"], f"Installed dist/{WHEEL}\n")
    install(checkout.tree())
    assert checkout.calls() == ["cargo --version"]


def test_a_wheel_of_another_version_is_not_taken(checkout: Checkout) -> None:
    checkout.give(f"turnout_engine-9.9-{TAG}.whl")
    install(checkout.tree())
    assert "maturin build" in checkout.calls()


def test_a_wheel_made_here_of_older_sources_is_not_taken(checkout: Checkout) -> None:
    assert wheel(checkout.tree()) == 0
    assert (checkout.root / "dist" / WHEEL).read_text() == "first"
    install(checkout.tree())
    assert checkout.calls()[-1] == "python install"
    checkout.source.write_text("second")
    install(checkout.tree())
    assert checkout.calls()[-2:] == ["maturin build", "python install"]


def test_a_wheel_that_was_built_already_is_not_built_for_dist_again(checkout: Checkout) -> None:
    install(checkout.tree())
    checkout.calls()
    assert wheel(checkout.tree()) == 0
    assert checkout.calls() == []
    assert (checkout.root / "dist" / WHEEL).exists()


def test_there_is_no_wheel_without_cargo(checkout: Checkout) -> None:
    (checkout.root / "path/cargo").unlink()
    assert wheel(checkout.tree()) == 1
    assert not (checkout.root / "dist").exists()


def test_the_engine_can_be_left_out(checkout: Checkout, said: Callable[[], str]) -> None:
    install(checkout.tree())
    checkout.calls(), said()
    assert install(checkout.tree(ENGINE="off")) == 0
    assert (checkout.calls(), said()) == (["cargo --version", "python uninstall"], "")


def test_an_engine_that_someone_else_installed_is_left_alone(checkout: Checkout) -> None:
    (checkout.root / ".venv/lib/python3/site-packages/turnout_engine-1.dist-info").mkdir(parents=True)
    (checkout.root / "path/cargo").unlink()
    install(checkout.tree())
    assert checkout.calls() == []


@pytest.mark.parametrize(("environment", "code"), [({}, 0), ({"CI": "true"}, 1)])
def test_checks_without_cargo_are_left_out_but_not_in_ci(
    checkout: Checkout, said: Callable[[], str], environment: dict[str, str], code: int
) -> None:
    (checkout.root / "path/cargo").unlink()
    assert check(checkout.tree(**environment)) == code
    assert said() == "no cargo here: the engine's sources are not looked at\n"


def test_checks_all_run_and_any_of_them_can_fail(checkout: Checkout) -> None:
    assert check(checkout.tree()) == 0
    assert checkout.calls()[-2:] == ["cargo fmt", "cargo clippy"]
    assert check(checkout.tree(BUILD_FAILS="error")) == 1
    assert checkout.calls()[-2:] == ["cargo fmt", "cargo clippy"]


def test_a_registry_is_given_up_in_seconds_but_in_ci(checkout: Checkout) -> None:
    hasty, patient = checkout.tree().cargo_settings(), checkout.tree(CI="true").cargo_settings()
    assert (hasty["CARGO_NET_RETRY"], hasty["CARGO_HTTP_TIMEOUT"]) == ("0", "5")
    assert int(patient["CARGO_NET_RETRY"]) > 0
    assert checkout.tree(CARGO_HTTP_TIMEOUT="90").cargo_settings()["CARGO_HTTP_TIMEOUT"] == "90"


def test_a_command_that_says_nothing_for_long_is_stopped(tmp_path: Path) -> None:
    command = ["sh", "-c", "sleep 1000; echo never"]
    ended = watched("Waiting", command, tmp_path, {"PATH": os.defpath}, tmp_path / "log", silent_s=0.0)
    assert (ended.code, ended.output) == (-9, "stopped: it said nothing for 0 s\n")
    assert (tmp_path / "log").read_text() == ended.output


STARTED = """
import sys
from pathlib import Path
from engine.building.progress import end_with_what_was_started, watched

end_with_what_was_started()
place = Path(sys.argv[1])
watched("Waiting", ["sh", "-c", "echo $$ > pipe; exec sleep 1000"], place, {"PATH": "/usr/bin:/bin"}, place / "log")
"""


def test_whoever_ends_a_build_ends_what_it_started(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen([sys.executable, "-c", STARTED, tmp_path], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        child = int((tmp_path / "pipe").read_text())
        process.terminate()
    assert process.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


# ---------------------------------------------------------------- what belongs together


def test_both_distributions_are_of_one_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
    assert project["optional-dependencies"]["engine"] == [f"turnout-engine=={VERSION}", "turnout[server]"]
