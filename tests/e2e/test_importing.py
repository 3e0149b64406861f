"""Logs and outcomes from elsewhere come into a journal that a gateway is writing, by commands of their own."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import turnout
from tests.e2e.conftest import StartGateway, environment
from tests.e2e.probes import eventually
from turnout_server.experiments.study import study
from turnout_server.experiments.text import convert
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


START = datetime(2026, 10, 1, tzinfo=UTC)
LATER = START + timedelta(days=40)


def test_a_past_experiment_of_somebody_else_comes_to_its_true_numbers(tmp_path: Path) -> None:
    chance = random.Random(13)
    log, orders = ["who,when,arm,chance,status"], ["id,who,at,amount,known"]
    spent: dict[str, list[float]] = {"old": [], "new": []}
    for shopper in range(400):
        arm = chance.choice(["old", "new"])
        first = START + timedelta(minutes=shopper)
        code = "OK" if shopper % 10 else "VERSION_UNAVAILABLE"
        log += [f"shopper-{shopper},{(first + timedelta(days=day)).isoformat()},{arm},0.5,{code}" for day in (0, 1)]
        amount = round(chance.uniform(1, 9), 2) if chance.random() < 0.5 else 0.0
        spent[arm].append(amount)
        if amount:
            known = first + timedelta(days=3)
            line = f"{shopper},shopper-{shopper},{(first + timedelta(days=2)).isoformat()},{amount},{known.isoformat()}"
            orders += [line, line]  # told twice
        for place, at in enumerate([first - timedelta(hours=1), first + timedelta(days=7)]):  # neither counts
            orders.append(f"{shopper}-{place},shopper-{shopper},{at.isoformat()},100,{LATER.isoformat()}")
    (tmp_path / "log.csv").write_text("\n".join(log))
    (tmp_path / "orders.csv").write_text("\n".join(orders))
    journal = tmp_path / "past"
    mapped = [f"--map={pair}" for pair in ("who=unit", "when=ts", "arm=assigned", "chance=propensity", "status=code")]
    ran("journal", "import", tmp_path / "log.csv", "-j", journal, "--route", "ranking", *mapped)
    mapped = [f"--map={pair}" for pair in ("id=outcome_id", "who=unit", "at=ts", "amount=value", "known=ingested")]
    done = ran("outcomes", "import", tmp_path / "orders.csv", "-j", journal, "--name", "order", *mapped)
    assert done["duplicates"] == sum(amount > 0 for amount in spent["old"] + spent["new"])

    experiment = {
        "name": "ranker",
        "route": "ranking",
        "control": "old",
        "treatments": ["new"],
        "window": "7d",
        "units": 400,
        "start": START,
        "primary": "revenue",
        "metrics": {"revenue": {"kind": "mean", "outcome": "order"}},
    }
    found = study(journal, convert(experiment), LATER, is_frozen=True)
    (one,) = found.comparisons
    assert (one.control.units, one.treatment.units) == (len(spent["old"]), len(spent["new"]))
    means = [sum(amounts) / len(amounts) for amounts in spent.values()]
    assert [one.control.value, one.treatment.value] == pytest.approx(means, rel=1e-12)
    assert (found.soundness.exposures, found.soundness.failed, found.soundness.lost) == (800, 80, 0)
    assert (found.soundness.strangers, found.soundness.nobodys) == (0, 0)
