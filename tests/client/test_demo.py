"""The demo in `clients/python/examples`."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import turnout

EXAMPLES = Path(__file__).parents[2] / "clients/python/examples"
NAME = "recommendation-homepage-personalised"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import demo

    return demo


def test_a_sample_that_is_sent_again_is_another_units(demo: Any) -> None:
    sent = list(islice(demo.units([{"unit": "a", "x": 1}, {"unit": "b", "x": 2}]), 6))
    assert [one["x"] for one in sent] == [1, 2, 1, 2, 1, 2]
    assert len({one["unit"] for one in sent}) == 6


@pytest.mark.parametrize("width", [80, 60])
def test_the_table_has_all_of_it(demo: Any, width: int) -> None:
    tally = demo.Tally()
    for target, count in (("control", 9), (NAME, 1)):
        served = turnout.Served(route=NAME, target=target, model=NAME, version=12, reason="SPLIT")
        tally.answers[served] = count
        tally.latencies[served].append(1.5)
    out = io.StringIO()
    Console(width=width, file=out).print(tally.table())
    lines = out.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    text = "".join(line.replace(" ", "") for line in lines)
    assert {"90.0%", "10.0%"} <= set(re.findall(r"[0-9.]+%", text))
    assert "…" not in text


def test_without_a_gateway_it_says_so_in_one_line() -> None:
    ran = subprocess.run(
        [sys.executable, EXAMPLES / "demo.py", "--target", "127.0.0.1:9"], capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "cannot reach 127.0.0.1:9: connection refused; is `turnout serve` running?\n"
