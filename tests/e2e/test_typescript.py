"""Stubs for TypeScript call the real gateway; `clients/typescript/src/gateway.test.ts` has the rules."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from clients.typescript import build
from tests.e2e.conftest import REPOSITORY, Gateway

FOLDER = REPOSITORY / "clients/typescript"


def absent(reason: str) -> None:
    """Skip what cannot be tried here. CI has what it takes, so that there nothing is skipped in silence."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def built() -> Path:
    """JavaScript of the example and of the tests."""
    if program := build.missing():
        absent(f"{program} is not installed")
    try:
        build.build()
    except build.BuildError as error:
        if re.search(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|E40[13]", str(error)):
            absent(f"npm's registry is not to be had: {error}")
        raise
    return FOLDER / "dist/src"


def node(*arguments: str | Path, target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", *map(str, arguments)],
        env=os.environ | {"TURNOUT_TARGET": target},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_stubs_for_typescript_call_the_gateway(built: Path, gateway: Gateway) -> None:
    ran = node("--test", "--test-reporter=tap", built / "gateway.test.js", target=gateway.address)
    assert ran.returncode == 0, ran.stdout
    tests = re.findall(r'^test\("', (FOLDER / "src/gateway.test.ts").read_text(), re.MULTILINE)
    assert f"# pass {len(tests)}" in ran.stdout


def test_the_example_prints_what_the_page_shows_of_errors(built: Path, gateway: Gateway) -> None:
    ran = node(built / "example.js", gateway.address, target=gateway.address)
    assert ran.returncode == 0, ran.stderr
    assert "ROUTE_NOT_FOUND { route: 'prices' }" in ran.stdout
    assert "a bigint" in ran.stdout


def test_the_lock_names_no_place_to_install_from() -> None:
    text = (FOLDER / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in re.sub(r'"(url|funding)": *"[^"]*"', "", text)
    packages = json.loads(text)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)
