"""Whatever is typed, the answer is one line on stderr and a documented exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.e2e.conftest import environment
from tests.tables import check_all
from turnout_server.cli import application, exits

BAD_TABLE = "routes: {p: {task: price, salt: s, targets: [{name: a, model: m, version: 1, weight: -1}]}}"


WRONG = [
    ("frobnicate", 2),
    ("models --frobnicate", 2),
    ("models --store", 2),
    ("models --store nowhere", 69),
    ("models --store file", 69),
    ("models nope", 66),
    ("models ../etc", 65),
    ("models --target 127.0.0.1:1", 69),
    ("models --target name.invalid:1 --timeout 2", 69),
    ("models --target  --timeout 2", 2),
    ("label price", 2),
    ("label price champion", 2),
    ("label price champion x", 2),
    ("label price champion 0", 2),
    ("label price champion -1", 2),
    ("label price champion 2 --delete", 2),
    ("label price champion 9", 66),
    ("label price 7 1", 65),
    ("label price Champion 1", 65),
    ("label price nope --delete", 66),
    ("label nope champion 1", 66),
    ("label price champion 99999999999999999999", 66),
    ("verify nope", 66),
    ("verify price 9", 66),
    ("verify --store nowhere", 69),
    ("routes frobnicate", 2),
    ("routes check", 2),
    ("routes check nowhere", 66),
    ("routes check .", 66),
    ("routes check binary", 65),
    ("routes check bad.yaml", 65),
    ("routes check file --store nowhere", 69),
    ("routes apply nowhere", 66),
    ("routes apply bad.yaml", 65),
    ("routes apply bad.yaml --target 127.0.0.1:1", 65),
    ("routes show --store nowhere", 69),
    ("assign price", 2),
    ("assign nope unit", 66),
    ("assign price unit --header x", 2),
    ("assign price unit --header x=1 --header x=2", 2),
    ("assign price unit --routes bad.yaml", 65),
    ("assign price unit --routes nowhere", 66),
    ("publish", 2),
    ("publish file", 2),
    ("publish nowhere -m x", 66),
    ("publish . -m x", 65),
    ("publish file -m x", 65),
    ("publish empty -m x", 65),
    ("publish binary -m x", 65),
    ("publish file -m x --task frobnicate", 2),
    ("publish file -m x --manifest nowhere", 66),
    ("publish file -m x --manifest binary", 65),
    ("call price -f carat --target 127.0.0.1:1", 2),
    ("call price -f carat=1 -f carat=2 --target 127.0.0.1:1", 2),
    ("call price -c :x=1 --target 127.0.0.1:1", 2),
    ("call price -k 0", 2),
    ("call price --data nowhere", 66),
    ("call price --data binary", 65),
    ("call price --data file", 65),
    ("call price --target 127.0.0.1:1", 69),
    ("call price --timeout 0", 2),
    ("call price --timeout nan --target 127.0.0.1:1", 2),
    ("health --target 127.0.0.1:1", 1),
    ("health --timeout x", 2),
    ("doctor --store nowhere", 1),
    ("doctor --listen nonsense", 78),
    ("serve --listen nonsense", 78),
    ("serve --listen 127.0.0.1:99999", 78),
    ("serve --metrics nonsense", 78),
    ("serve --config nowhere", 78),
    ("serve --config binary", 78),
    ("serve --config file", 78),
    ("serve --set frobnicate=1", 78),
    ("serve --set limits.queue_rows=-1", 78),
    ("serve --set limits=3 --set limits.queue_rows=1", 78),
    ("serve --set grace_s", 2),
    ("serve --grace soon", 2),
    ("serve --grace -1", 78),
    ("serve --log-level loud", 2),
]


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are none of what is asked for."""
    (tmp_path / "file").write_text("neither YAML: nor: a model")
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "bad.yaml").write_text(BAD_TABLE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("things")
def test_wrong_input_ends_with_one_line_and_its_exit_code_and_changes_nothing(run: Run, store: Path) -> None:
    before = everything_in(store)

    def check(line: str, code: int) -> None:
        ran = run(*line.split(" "))
        assert (ran.code, ran.err.count("\n")) == (code, 1), ran.err
        assert ran.err.startswith("turnout: error: ")
        assert "Traceback" not in ran.out + ran.err
        assert everything_in(store) == before

    check_all(WRONG, check)


def everything_in(directory: Path) -> dict[Path, tuple[int, int]]:
    """Return what would show a change: each file's size, and when it was written."""
    found = {path: path.stat() for path in directory.rglob("*")}
    return {path: (status.st_size, status.st_mtime_ns) for path, status in found.items()}


def test_an_unexpected_error_is_a_line_too(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout_server.cli.options.DirectoryStore", lambda path: 1 / 0)
    ran = run("models")
    assert (ran.code, ran.err) == (
        exits.INTERNAL,
        "turnout: error: unexpected ZeroDivisionError: division by zero; TURNOUT_DEBUG=1 shows where\n",
    )
    monkeypatch.setenv("TURNOUT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        application.run(["models"])


def test_a_bare_command_shows_its_help(run: Run) -> None:
    assert "publish" in run().out
    assert "apply" in run("routes").out


@pytest.mark.parametrize("command", ["", "serve", "publish", "models", "label", "verify", "routes", "routes apply"])
def test_every_command_explains_itself(run: Run, command: str) -> None:
    ran = run(*command.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    assert "Usage: turnout" in ran.out


def python(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("missing", ["typer", "msgspec", "yaml", "onnxruntime"])
def test_without_the_servers_dependencies_there_is_one_clear_line(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = ['serve', '--store', 'nowhere']"
    ran = python("-c", f"{code}; from turnout_server.cli import main; main()")
    assert (ran.returncode, ran.stdout) == (69, "")
    assert ran.stderr == (
        "turnout: error: the turnout command needs the server's dependencies: "
        f"pip install 'THE_WHEEL[server]', see docs/install.md ({missing} is missing)\n"
    )


@pytest.mark.parametrize(("number", "code"), [(1, 143), (2, -signal.SIGTERM)])
def test_a_containers_first_process_can_be_stopped_before_it_serves(number: int, code: int) -> None:
    """The kernel keeps from the first process what that has no handler for; any other ends by itself."""
    starts = (
        "import os, signal, sys; from turnout_server.cli import main, options; own = os.getpid(); "
        "options.DirectoryStore = lambda path: os.kill(own, signal.SIGTERM); "
        f"os.getpid = lambda: {number}; sys.argv[1:] = ['models', '--store', '.']"
    )
    assert python("-c", f"{starts}; main()").returncode == code


def test_the_module_is_the_command() -> None:
    ran = python("-m", "turnout_server", "--version")
    assert (ran.returncode, ran.stdout.split()[0]) == (0, "turnout")


def test_a_reader_that_leaves_is_no_error(pristine: Path) -> None:
    units = [f"u{number}" for number in range(20_000)]
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        [sys.executable, "-m", "turnout_server", "assign", "price", *units, "--store", str(pristine)],
        env=environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (ran.returncode, ran.stderr) == (141, b"")
