"""What is said when a gateway has started; `tests/e2e/test_lifecycle.py` pastes what it offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout_server.cli import greeting
from turnout_server.cli.examples import Example

SHOWN = Example("turnout.v1.S/M", {"name": "it's"}, 'predict_price("r", {})', ["r", "--feature", "x=a b"])


@pytest.mark.parametrize(
    ("listening", "reachable"),
    [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.1:80", "10.0.0.1:80"), ("[::2]:80", "[::2]:80")],
)
def test_a_wildcard_is_this_machine(listening: str, reachable: str) -> None:
    assert greeting._reachable(listening) == reachable


def test_commands_are_quoted_for_a_shell() -> None:
    grpcurl, python, turnout = greeting.commands("h:1", SHOWN)
    assert grpcurl.endswith("""grpcurl -plaintext -d '{"name": "it'"'"'s"}' h:1 turnout.v1.S/M""")
    assert python.endswith("""-c 'import turnout; print(turnout.Client("h:1").predict_price("r", {}))'""")
    assert turnout.endswith("call r --feature 'x=a b' --target h:1")


def test_a_grpcurl_that_only_pythons_environment_has_is_called_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grpcurl").touch()
    monkeypatch.setattr(greeting.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(greeting.shutil, "which", lambda name: None)
    assert greeting.commands("h:1", None)[0] == f"{tmp_path}/grpcurl -plaintext h:1 list"


def test_without_an_example_the_commands_look_around() -> None:
    grpcurl, python, turnout = greeting.commands("h:1", None)
    assert grpcurl.endswith("grpcurl -plaintext h:1 list")
    assert ".models())" in python
    assert turnout.endswith("models --target h:1")
