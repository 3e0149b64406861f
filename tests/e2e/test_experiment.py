"""`make experiment`: shoppers through the real gateway and client, their outcomes, and a verdict from the journal."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import DATA_PLANE

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(DATA_PLANE == "python", reason="it takes the plane that there is, once")


def test_an_experiment_comes_from_shoppers_to_a_verdict_and_a_report(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    command = [sys.executable, ROOT / "clients/python/examples/experiment.py", "--folder", folder]
    ended = subprocess.run(
        [*map(str, command), "--seconds", "4", "--window", "2"],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    shoppers = int((re.search(r"^(\d+) shoppers", ended.stdout, re.M) or pytest.fail(ended.stdout))[1])
    assert f"units {shoppers:,}: {shoppers:,} count" in ended.stdout
    assert "records lost 0.00%" in ended.stdout
    counted = re.search(r"^outcomes ([\d,]+):", ended.stdout, re.M) or pytest.fail(ended.stdout)
    outcomes = int(counted[1].replace(",", ""))
    assert 0.05 * shoppers < outcomes < 0.2 * shoppers
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "canary-ranks-better" in report
    assert "://" not in report.replace("http://www.w3.org/2000/svg", "")
