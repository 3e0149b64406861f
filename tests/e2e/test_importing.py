"""Logs and outcomes from elsewhere come into a journal that a gateway is writing, by commands of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import turnout
from tests.e2e.conftest import StartGateway, environment
from tests.e2e.probes import eventually
from turnout_server.journal.reading import query
from turnout_server.journal.schema import SEGMENTS, STAGING

HOURS = 200
"""Of the log: each is a segment."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "turnout_server", *map(str, arguments)]


def ran(*arguments: object) -> Any:
    """Run a command that is to succeed; return its JSON."""
    ended = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True, env=environment(), timeout=60)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_what_comes_from_elsewhere_stands_beside_what_was_served_under_one_key(
    tiny_store: Path, tmp_path: Path, start_gateway: StartGateway
) -> None:
    journal = tmp_path / "journal"
    (tmp_path / "turnout.yaml").write_text(json.dumps({"journal": {"path": str(journal), "rotate_s": 0.5}}))
    (tmp_path / "log.csv").write_text("unit,ts,assigned\nann,2026-11-01,control\n")
    (tmp_path / "orders.csv").write_text("outcome_id,unit,ts\n1,ann,2026-11-02\n")
    gateway = start_gateway(tiny_store, "--config", str(tmp_path / "turnout.yaml"))
    with turnout.Client(gateway.address) as client:
        client.predict_price("price", {"carat": 1}, unit="ann")
        eventually(lambda: query(journal, "FROM records").rows)
        done = ran("journal", "import", tmp_path / "log.csv", "-j", journal, "--route", "price")
        assert (done["rows"], done["is_new_key"]) == (1, False)
        assert ran("outcomes", "import", tmp_path / "orders.csv", "-j", journal, "--name", "order")["rows"] == 1
        client.predict_price("price", {"carat": 1}, unit="ann")
    assert gateway.terminate() == 0
    assert query(journal, "SELECT count(*), count(DISTINCT unit), count(DISTINCT boot) FROM records").rows == [
        (3, 1, 2)
    ]
    assert ran("journal", "verify", "-j", journal)["is_accounted"] is True


def staged(journal: Path) -> bool:
    return any((journal / STAGING / "import").glob("*.parquet"))


def shown(journal: Path) -> bool:
    return any(journal.glob(SEGMENTS))


@pytest.mark.parametrize("moment", [staged, shown])
def test_an_import_that_was_killed_is_completed_by_the_next(tmp_path: Path, moment: Callable[[Path], bool]) -> None:
    journal = tmp_path / "journal"
    lines = (f"u{hour},{1_793_520_000 + hour * 3600},a" for hour in range(HOURS))
    (tmp_path / "log.csv").write_text("\n".join(["unit,ts,assigned", *lines]))
    line = ("journal", "import", tmp_path / "log.csv", "-j", journal, "--route", "price")
    with subprocess.Popen(command(*line), env=environment(), stderr=subprocess.DEVNULL) as importing:
        eventually(lambda: moment(journal) or importing.poll() is not None)
        importing.send_signal(signal.SIGKILL)
    assert importing.returncode == -signal.SIGKILL
    assert ran(*line)["rows"] == HOURS
    assert ran(*line)["was_there"] is True
    assert query(journal, "SELECT count(*), count(DISTINCT unit) FROM records").rows == [(HOURS, HOURS)]
    assert ran("journal", "verify", "-j", journal)["is_accounted"] is True
    assert not (journal / STAGING / "import").exists()
