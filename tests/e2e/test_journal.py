"""The journal of a real gateway under load says of every request what its client saw, or that it is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import turnout
from tests.e2e.conftest import Gateway, StartGateway, environment
from tests.e2e.probes import eventually, metrics
from turnout_server.journal.accounts import accounts
from turnout_server.journal.boot import BOOTS
from turnout_server.journal.counters import Counters, counters_of
from turnout_server.journal.reading import query
from turnout_server.routing.table import digest_of

CALLERS = 4
"""Threads, each with a client of its own and one call under way at a time."""
SECRET = "a-unit-that-nobody-may-read"
"""Every unit begins with it."""
COLUMNS = ("request_id", "code", "served", "model", "version", "reason", "assigned")


Series = dict[tuple[tuple[str, str], ...], float]
"""A metric's values by their labels."""


class Seen(NamedTuple):
    """One request as its client saw it end, and as the journal has it."""

    request_id: str
    code: str
    served: str | None = None
    model: str = ""
    version: int = 0
    reason: str = ""
    assigned: str | None = None


class Load:
    """Clients that call as fast as they can."""

    def __init__(self, address: str) -> None:
        self.seen: list[Seen] = []
        """Calls that ended as they were to."""
        self.failures: list[turnout.TurnoutError] = []
        """Calls that did not."""
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._call, args=(address, number)) for number in range(CALLERS)]

    def _call(self, address: str, caller: int) -> None:
        with turnout.Client(address, retries=0) as client:
            number = 0
            while not self.stop.is_set():
                number += 1
                try:
                    self.seen.append(self._one(client, f"{caller}-{number}", number))
                except turnout.TurnoutError as error:
                    self.failures.append(error)
                    return

    def _one(self, client: turnout.Client, name: str, number: int) -> Seen:
        if number % 10 == 0:  # refused after somebody was assigned; an error does not bring an id, so it gets one
            with pytest.raises(turnout.InvalidRequestError) as refused:
                client.predict_price("price", {"carot": 1}, unit=SECRET + name, metadata={"x-request-id": name})
            return Seen(name, refused.value.reason)
        asked: dict[str, Any] = {"unit": SECRET + name}
        if number % 3 == 0:
            asked["metadata"] = {"x-request-id": name}
        if number % 5 == 0:
            asked["version"] = 2
        served = client.predict_price("price", {"carat": 1}, **asked).served
        return Seen(
            served.request_id,
            "OK",
            served.target or None,
            served.model,
            served.version,
            served.reason,
            served.assigned_target or None,
        )

    def reached(self, count: int) -> int:
        """Return how many calls have ended well once there are *count*, and none has failed."""
        eventually(lambda: len(self.seen) >= count or self.failures)
        assert not self.failures
        return len(self.seen)


@contextmanager
def load(gateway: Gateway) -> Iterator[Load]:
    """Call until the end of the context."""
    running = Load(gateway.address)
    for thread in running.threads:
        thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        for thread in running.threads:
            thread.join()


def configured(folder: Path, journal: Path, **more: Any) -> tuple[str, str]:
    """Return the arguments for a gateway that keeps that journal."""
    file = folder / "turnout.yaml"
    file.write_text(json.dumps({"journal": {"path": str(journal), "instance": "gw", "rotate_s": 0.5, **more}}))
    return "--config", str(file)


def verified(journal: Path) -> tuple[int, dict[str, Any]]:
    """Return the exit code of `turnout journal verify --json`, and what it says of the only boot."""
    command = [sys.executable, "-m", "turnout_server", "journal", "verify", "--journal", str(journal), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    said = json.loads(ended.stdout)
    assert said["strangers"] == {}
    (boot,) = said["boots"]
    return ended.returncode, boot


def counted(journal: Path) -> Counters:
    """Return what the only boot's counter file says."""
    (file,) = (file for file in (journal / BOOTS).iterdir() if not file.name.startswith("."))
    return counters_of(file)


def written(journal: Path) -> Counter[Seen]:
    """Return the requests in the journal; those that were refused as their client sees them."""
    answer = query(journal, f"SELECT {', '.join(COLUMNS)} FROM records WHERE copy_of IS NULL")
    found = map(Seen._make, answer.rows)
    return Counter(one if one.code == "OK" else Seen(one.request_id, one.code) for one in found)


def assert_agrees(journal: Path, load: Load, **dropped: int) -> None:
    """See that each call is in the journal as its client saw it, but for those that are counted as *dropped*."""
    seen, found = Counter(load.seen), written(journal)
    assert max(seen.values()) == 1
    assert not found - seen
    assert (seen - found).total() == sum(dropped.values())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


# ---------------------------------------------------------------- ends


def test_after_a_clean_end_every_request_is_there_as_its_client_saw_it(
    store: Path, tmp_path: Path, start_gateway: StartGateway
) -> None:
    routes = store / "routes.yaml"
    mirror = "    mirrors:\n      - {model: price, version: challenger, fraction: 1.0}\n"
    routes.write_text(routes.read_text().replace("    fallback: control\n", "    fallback: control\n" + mirror))
    journal = tmp_path / "journal"
    gateway = start_gateway(store, *configured(tmp_path, journal))
    with load(gateway) as calls:
        calls.reached(1500)
    assert gateway.terminate() == 0
    assert_agrees(journal, calls)

    code, boot = verified(journal)
    assert (code, boot["state"], boot["is_accounted"]) == (0, "clean", True)
    assert (boot["missing"], boot["dropped"], boot["gone"]) == (0, {}, 0)
    [(copies,)] = query(journal, "SELECT count(*) FROM records WHERE copy_of IS NOT NULL").rows
    assert boot["offered"] == boot["written"] == len(calls.seen) + copies

    # Copies stand beside their originals, and compare.
    pairs = query(  # but for the worst, whose note has both answers
        journal,
        "SELECT o.request_id = c.request_id, o.version, c.served, c.model, c.version, round(c.shadow_delta, 3), c.code"
        " FROM records c LEFT JOIN records o ON c.copy_of = o.seq AND c.boot = o.boot AND c.instance = o.instance"
        " WHERE c.copy_of IS NOT NULL AND c.shadow_note IS NULL",
    ).rows
    assert pairs
    assert set(pairs) <= {(True, 1, None, "price", 2, DELTA, "OK"), (True, 2, None, "price", 2, 0.0, "OK")}

    # Units are there as hashes: each caller's own, and in no file as they are.
    [(units,)] = query(journal, "SELECT count(DISTINCT unit) FROM records WHERE copy_of IS NULL").rows
    assert units == len(calls.seen)
    files = [file for file in journal.rglob("*") if file.is_file()]
    assert len(files) > 3
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []
    assert SECRET not in gateway.log()


DELTA = 0.1
"""How much more version 2 asks for one carat than version 1."""


def test_after_kill_9_what_is_missing_is_what_clients_saw_and_is_not_written(
    tiny_store: Path, tmp_path: Path, start_gateway: StartGateway
) -> None:
    journal = tmp_path / "journal"
    gateway = start_gateway(tiny_store, *configured(tmp_path, journal))
    with load(gateway) as calls:
        calls.reached(500)
        eventually(lambda: counted(journal).segments >= 2)
        calls.reached(len(calls.seen) + 50)
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait()
    assert all(isinstance(error, turnout.UnavailableError) for error in calls.failures)

    code, boot = verified(journal)
    assert (code, boot["state"], boot["is_accounted"]) == (1, "unclean", False)
    assert (boot["gone"], boot["problems"], boot["dropped"]) == (0, [], {})
    seen, found = Counter(calls.seen), written(journal)
    # Of each caller one call may have been under way: its record was made or not, and nobody saw how it ended.
    assert 0 <= boot["offered"] - seen.total() <= CALLERS
    assert boot["written"] == found.total()
    assert boot["missing"] == boot["offered"] - boot["written"] > 0
    assert (found - seen).total() <= CALLERS
    assert 0 <= boot["missing"] - (seen - found).total() <= CALLERS


def test_the_next_start_is_another_boot_beside_the_one_that_was_killed(
    tiny_store: Path, tmp_path: Path, start_gateway: StartGateway
) -> None:
    journal = tmp_path / "journal"
    arguments = configured(tmp_path, journal)
    seen = []
    for ending in (signal.SIGKILL, signal.SIGTERM):
        gateway = start_gateway(tiny_store, *arguments)
        with turnout.Client(gateway.address) as client:
            seen += [client.predict_price("price", {"carat": 1}, unit="ann").served.request_id for _ in range(3)]
        (journal / ".staging").mkdir(exist_ok=True)
        (running,) = (file for file in (journal / BOOTS).iterdir() if counters_of(file).is_running)
        (journal / ".staging" / f"{running.name}-99.parquet").write_bytes(b"half a segment")
        if ending == signal.SIGKILL:  # only what is in a segment by then is there afterwards
            eventually(lambda: len(query(journal, "FROM records").rows) == 3)
        gateway.process.send_signal(ending)
        gateway.process.wait(30)
    # What the dead boot left half done was swept; its records, and those of the next one, stand side by side.
    assert [file.name.startswith(running.name) for file in (journal / ".staging").iterdir()] == [True]
    found = query(journal, "SELECT request_id, count(DISTINCT unit) OVER () FROM records").rows
    assert sorted(found) == sorted((name, 1) for name in seen)


# ---------------------------------------------------------------- disks


def fill(file: Path) -> None:
    """Write to *file* until the disk is full."""
    with file.open("wb", buffering=0) as opened:
        while True:
            opened.write(bytes(4096))


def test_a_full_disk_costs_records_that_are_counted_and_not_one_call(
    tiny_store: Path, tmp_path: Path, small_disk: Path, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(tiny_store, *configured(tmp_path, small_disk, rotate_bytes=100_000))
    ballast = small_disk / "ballast"
    with load(gateway) as calls:
        eventually(lambda: counted(small_disk).segments)
        with pytest.raises(OSError, match="No space"):
            fill(ballast)
        eventually(lambda: counted(small_disk).dropped["no_space"])
        calls.reached(len(calls.seen) + 100)
        before = counted(small_disk).written
        ballast.unlink()
        eventually(lambda: counted(small_disk).written > before)
        calls.reached(len(calls.seen) + 100)
    assert gateway.terminate() == 0
    assert_told_and_counted(small_disk, calls, gateway, "no_space")


def test_a_journal_that_is_forbidden_for_a_while_costs_records_that_are_counted_and_not_one_call(
    tiny_store: Path, tmp_path: Path, start_gateway: StartGateway
) -> None:
    within: tuple[str, ...] = ()
    if os.geteuid() == 0:  # root may write everywhere, unless that is taken from it
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and there is no setpriv to take that away")
        within = ("setpriv", "--bounding-set", "-dac_override", "--")
    journal = tmp_path / "journal"
    gateway = start_gateway(tiny_store, *configured(tmp_path, journal, rotate_bytes=100_000), within=within)
    with load(gateway) as calls:
        eventually(lambda: counted(journal).segments)
        folders = [journal, *(folder for folder in journal.rglob("*") if folder.is_dir())]
        for folder in folders:
            folder.chmod(0o500)
        eventually(lambda: counted(journal).dropped["no_permission"])
        calls.reached(len(calls.seen) + 100)
        before = counted(journal).written
        for folder in folders:
            folder.chmod(0o700)
        eventually(lambda: counted(journal).written > before)
        calls.reached(len(calls.seen) + 100)
    assert gateway.terminate() == 0
    assert_told_and_counted(journal, calls, gateway, "no_permission")


def assert_told_and_counted(journal: Path, calls: Load, gateway: Gateway, cause: str) -> None:
    """See that what was lost is counted under *cause*, exactly, and that the log says so twice and no more."""
    code, boot = verified(journal)
    assert (code, boot["state"], boot["missing"]) == (0, "clean", 0)
    assert set(boot["dropped"]) == {cause}
    assert boot["offered"] == len(calls.seen) == boot["written"] + boot["dropped"][cause]
    assert_agrees(journal, calls, **boot["dropped"])
    told = [line for line in gateway.log().splitlines() if '"turnout.journal"' in line and "the journal can" in line]
    assert ["cannot be written" in line for line in told] == [True, False]


def test_a_writer_that_cannot_keep_up_loses_records_that_are_counted(
    tiny_store: Path, tmp_path: Path, start_gateway: StartGateway
) -> None:
    # The ring holds a handful, and the writer looks ten times a second: it is as slow as a slow disk makes it.
    journal = tmp_path / "journal"
    gateway = start_gateway(tiny_store, *configured(tmp_path, journal, ring_records=4))
    with load(gateway) as calls:
        calls.reached(500)
        scraped = eventually(lambda: metrics(gateway, "turnout_journal_dropped_total"))
    eventually(lambda: metrics(gateway, "turnout_journal_waiting")[()] == 0)
    exposures = metrics(gateway, "turnout_exposures_total")
    assert gateway.terminate() == 0
    code, boot = verified(journal)
    assert (code, boot["state"], boot["missing"]) == (0, "clean", 0)
    rows = query(journal, "SELECT assigned, count(*) FROM records WHERE reason = 'SPLIT' GROUP BY assigned").rows
    assert dict(rows) == by_arm(exposures, "written")
    (account,) = accounts(journal).accounts
    assert {arm.target: count for arm, count in (account.marks[-1].exposures or {}).items()} == by_arm(
        exposures, "dropped"
    )
    pinned = sum(one.reason == "PINNED" for one in calls.seen)
    assert sum(exposures.values()) == len(calls.seen) - pinned
    assert boot["dropped"].keys() == {"ring_full"}
    assert 0 < scraped[(("cause", "ring_full"),)] <= boot["dropped"]["ring_full"]
    assert_agrees(journal, calls, **boot["dropped"])


def by_arm(exposures: Series, fate: str) -> dict[str, float]:
    """Return those of route `price` that had that fate."""
    said = [(dict(labels), count) for labels, count in exposures.items()]
    assert all((labels["route"], labels["experiment"]) in {("price", ""), ("price", "trial")} for labels, _ in said)
    return {labels["arm"]: count for labels, count in said if labels["fate"] == fate}


def test_without_a_journal_an_experiments_exposures_are_suppressed_and_each_route_shows_its_epoch(
    store: Path, start_gateway: StartGateway
) -> None:
    routes = store / "routes.yaml"
    trial = "    experiment: {name: trial, control: control}\n"
    routes.write_text(routes.read_text().replace("    fallback: control\n", "    fallback: control\n" + trial))
    gateway = start_gateway(store)
    seen: Counter[str] = Counter()
    with turnout.Client(gateway.address) as client:
        for number in range(40):
            served = client.predict_price("price", {"carat": 1}, unit=f"u-{number}").served
            seen[served.assigned_target] += 1
        client.predict_price("price", {"carat": 1})
        client.predict_price("price", {"carat": 1}, unit="u-0", version=2)
    assert min(seen.values()) > 0
    eventually(lambda: by_arm(metrics(gateway, "turnout_exposures_total"), "suppressed") == seen)
    (table,) = metrics(gateway, "turnout_route_table_info")
    digest = digest_of(routes.read_text())
    assert table == (("digest", digest), ("revision", digest)), "nothing is laid over it"
    epochs = [dict(labels) for labels in metrics(gateway, "turnout_route_info")]
    assert sorted(labels["route"] for labels in epochs) == ["echo", "price", "ranking", "recommendation"]
    assert all(len(labels["epoch"]) == 16 for labels in epochs)
