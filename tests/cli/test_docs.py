"""The documentation agrees with the code."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.cli.conftest import Run
from turnout_server.cli import exits
from turnout_server.config import Config, load

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")


def test_every_exit_code_is_documented_and_no_other() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.M)}
    assert documented == {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}


def test_the_documented_configuration_is_the_default(tmp_path: Path) -> None:
    block = next(text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S) if "listen:" in text)
    file = tmp_path / "turnout.yaml"
    file.write_text(block)
    assert load(file) == Config()
    outdated = {"transport"}
    assert set(yaml.safe_load(block)) == {field.name for field in msgspec.structs.fields(Config)} - outdated


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^\| `turnout (\w+)", PAGE, re.M))))
def test_every_documented_command_is_there(run: Run, command: str) -> None:
    assert run(command, "--help").code == 0
