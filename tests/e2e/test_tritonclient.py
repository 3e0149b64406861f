"""An unmodified tritonclient gets what it expects."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.conftest import REPOSITORY, Gateway, StartGateway, environment

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tritonclient") is None, reason="tritonclient is not installed"
)

SCRIPT = Path(__file__).with_name("tritonclient_checks.py")
CHECKS = re.findall(r"^@(check\w*)\ndef (\w+)", SCRIPT.read_text(encoding="utf-8"), flags=re.MULTILINE)
"""Groups and names, read from the text: to import the script would bring tritonclient's stubs into this process."""
PERMISSIVE = "allow_shared_memory: true\nallow_changes: true\n"


class Outcomes(NamedTuple):
    """What came of a group of checks."""

    tracebacks: dict[str, str]
    """By name; empty for a check that passed."""
    log: list[dict[str, Any]]
    """What the gateway logged meanwhile."""


@pytest.fixture(scope="module")
def outcomes(gateway: Gateway) -> Outcomes:
    """The checks of a gateway as it comes."""
    return run_checks("check", gateway)


def names(group: str) -> list[str]:
    return [name for its_group, name in CHECKS if its_group == group]


def run_checks(group: str, gateway: Gateway) -> Outcomes:
    before = len(gateway.log())
    command = [sys.executable, "-m", "tests.e2e.tritonclient_checks", group, gateway.address]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=REPOSITORY, env=environment()
    )
    assert run.returncode == 0, run.stderr
    return Outcomes(json.loads(run.stdout), [json.loads(line) for line in gateway.log()[before:].splitlines()])


@pytest.mark.parametrize("name", names("check"))
def test_tritonclient(outcomes: Outcomes, name: str) -> None:
    assert outcomes.tracebacks[name] == ""


def test_no_check_made_the_gateway_complain(outcomes: Outcomes) -> None:
    assert [record for record in outcomes.log if record["level"] in ("error", "critical")] == []


def test_tritonclient_gets_the_form_that_it_sent_where_that_is_set(
    tiny_store: Path, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(tiny_store, "--set", "open_inference.answers=as_sent")
    assert run_checks("check_as_sent", gateway).tracebacks == dict.fromkeys(names("check_as_sent"), "")


def test_tritonclient_may_do_more_where_that_is_allowed(
    store: Path, start_gateway: StartGateway, tmp_path: Path
) -> None:
    config = tmp_path / "turnout.yaml"
    config.write_text(PERMISSIVE, encoding="utf-8")
    tracebacks = run_checks("check_permissive", start_gateway(store, "--config", str(config))).tracebacks
    assert tracebacks == dict.fromkeys(names("check_permissive"), "")
