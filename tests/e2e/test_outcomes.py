"""What a real gateway acknowledges is there exactly once, however it ends, on both data planes."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

import turnout
from tests.e2e.conftest import DATA_PLANE, StartGateway
from tests.e2e.probes import PATIENCE_S, connected, eventually, metrics
from turnout import errors, v1
from turnout_server.engine import choice
from turnout_server.outcomes.reading import query

PLANES = [DATA_PLANE] if DATA_PLANE else ["engine", "python"] if not choice.find().problem else ["python"]
SECRET = "a-unit-that-nobody-may-read"
CALLERS = 4


def configured(folder: Path, journal: Path | None, **more: Any) -> tuple[str, str]:
    """Return the arguments for a gateway that takes outcomes, into that journal."""
    file = folder / "turnout.yaml"
    kept = {} if journal is None else {"journal": {"path": str(journal), "instance": "gw", "rotate_s": 0.5, **more}}
    file.write_text(json.dumps(kept))
    return "--config", str(file)


def order(outcome_id: str, **fields: Any) -> v1.Outcome:
    """Return an outcome that can be taken, whatever the clock says."""
    message = v1.Outcome(outcome_id=outcome_id, **{"unit": SECRET, "name": "order", "value": 1.0} | fields)
    message.event_time.FromSeconds(1_700_000_000)
    return message


def record(address: str, *outcomes: v1.Outcome) -> list[str]:
    """Record outcomes by one bare call, and return their fates or why they were rejected."""
    with connected(address) as channel:
        answer = v1.OutcomeServiceStub(channel).Record(v1.RecordRequest(outcomes=outcomes), timeout=PATIENCE_S)
    return [one.reason or v1.OutcomeFate.Name(one.fate).removeprefix("OUTCOME_FATE_") for one in answer.results]


def refused(address: str, *outcomes: v1.Outcome) -> errors.TurnoutError:
    """Return how a call of those is refused."""
    with pytest.raises(grpc.RpcError) as raised:
        record(address, *outcomes)
    return errors.from_rpc(raised.value, address, "Record", None)


def found(journal: Path) -> list[str]:
    """Return the ids in the files, sorted, as often as they are there."""
    return [one for (one,) in query(journal, "SELECT outcome_id FROM outcomes ORDER BY ALL").rows]


class Callers:
    """Record as fast as they are answered, until they are refused."""

    def __init__(self, address: str) -> None:
        self.acknowledged: list[str] = []
        self.sent: list[str] = []
        self._address = address
        self.threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]
        for thread in self.threads:
            thread.start()

    def _call(self, caller: int) -> None:
        with connected(self._address) as channel:
            stub = v1.OutcomeServiceStub(channel)
            for turn in range(1_000_000):
                names = [f"{caller}-{turn}-{number}" for number in range(3)]
                self.sent += names
                try:
                    answer = stub.Record(v1.RecordRequest(outcomes=map(order, names)), timeout=PATIENCE_S)
                except grpc.RpcError:
                    return
                self.acknowledged += [one.outcome_id for one in answer.results]

    def join(self) -> None:
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("plane", PLANES)
def test_what_was_acknowledged_survives_a_kill_and_is_there_once(
    tiny_store: Path, tmp_path: Path, start_gateway: StartGateway, plane: str
) -> None:
    journal = tmp_path / "journal"
    arguments = (*configured(tmp_path, journal), "--data-plane", plane)
    gateway = start_gateway(tiny_store, *arguments)
    callers = Callers(gateway.address)
    eventually(lambda: len(callers.acknowledged) > 300)
    gateway.process.send_signal(signal.SIGKILL)
    gateway.process.wait()
    callers.join()

    again = start_gateway(tiny_store, *arguments)
    acknowledged = callers.acknowledged
    assert record(again.address, *map(order, acknowledged[-100:])) == ["DUPLICATE"] * 100
    lost = set(callers.sent) - set(acknowledged)
    fates = record(again.address, *map(order, sorted(lost)))  # nobody knows of these, so they are sent again
    assert set(fates) <= {"ACCEPTED", "DUPLICATE"}
    eventually(lambda: len(found(journal)) >= len(callers.sent))
    assert again.terminate() == 0
    assert found(journal) == sorted(callers.sent)

    files = [file for file in journal.rglob("*") if file.is_file()]
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []
    assert SECRET not in gateway.log() + again.log()


def test_a_client_loses_nothing_while_its_gateway_is_killed_and_comes_back(
    tiny_store: Path, tmp_path: Path, start_gateway: StartGateway
) -> None:
    journal = tmp_path / "journal"
    gateway = start_gateway(tiny_store, *configured(tmp_path, journal))
    with turnout.Client(gateway.address, unit="ann") as client:
        sent = [client.outcome("order", outcome_id=f"before-{number}") for number in range(1500)]
        eventually(lambda: client.outcomes.accepted)
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait()
        sent += [client.outcome("order", outcome_id=f"after-{number}") for number in range(1500)]
        again = start_gateway(tiny_store, *configured(tmp_path, journal), "--listen", gateway.address)
        counts = client.flush(timeout=PATIENCE_S)
    assert (counts.accepted + counts.duplicate, counts.rejected, counts.lost) == (len(sent), 0, 0)
    eventually(lambda: len(found(journal)) >= len(sent))
    assert again.terminate() == 0
    assert found(journal) == sorted(sent)


@pytest.mark.parametrize("plane", PLANES)
def test_each_item_has_its_own_fate_and_every_fate_is_counted(
    tiny_store: Path, tmp_path: Path, start_gateway: StartGateway, plane: str
) -> None:
    journal = tmp_path / "journal"
    gateway = start_gateway(tiny_store, *configured(tmp_path, journal), "--data-plane", plane)
    late = order("late")
    late.event_time.FromSeconds(4_000_000_000)
    sent = order("a"), order("a"), order("a", value=2.0), order("b", value=float("nan")), late, order("c", unit="")
    fates = ["ACCEPTED", "DUPLICATE", "CONTENT_DIFFERS", "NOT_FINITE", "IN_THE_FUTURE", "NO_UNIT"]
    assert record(gateway.address, *sent) == fates
    with connected(gateway.address) as channel:
        messages = [v1.RecordStreamRequest(outcomes=[order("s-1")]), v1.RecordStreamRequest(outcomes=[order("a")])]
        answers = v1.OutcomeServiceStub(channel).RecordStream(iter(messages), timeout=PATIENCE_S)
        assert [answer.results[0].fate for answer in answers] == [v1.OUTCOME_FATE_ACCEPTED, v1.OUTCOME_FATE_DUPLICATE]
    assert refused(gateway.address, *[order("x")] * 1001).code == "INVALID_ARGUMENT"
    eventually(lambda: found(journal) == ["a", "s-1"])  # while it runs
    counted = metrics(gateway, "turnout_outcomes_total")
    assert {dict(labels)["fate"]: count for labels, count in counted.items()} == {
        "accepted": 2,
        "duplicate": 2,
        "rejected": 4,
    }
    assert sum(metrics(gateway, "turnout_outcomes_lag_seconds_count").values()) == 2


@pytest.mark.parametrize("plane", PLANES)
def test_without_a_journal_outcomes_are_refused_with_the_name_of_the_setting(
    tiny_store: Path, tmp_path: Path, start_gateway: StartGateway, plane: str
) -> None:
    gateway = start_gateway(tiny_store, *configured(tmp_path, None), "--data-plane", plane)
    error = refused(gateway.address, order("a"))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "OUTCOMES_OFF")
    assert "journal.path" in str(error)


def test_two_gateways_of_one_name_take_outcomes_into_one_journal(
    tiny_store: Path, tmp_path: Path, start_gateway: StartGateway
) -> None:
    journal = tmp_path / "journal"
    arguments = configured(tmp_path, journal)
    gateways = [start_gateway(tiny_store, *arguments) for _ in range(2)]
    for number, gateway in enumerate(gateways):
        assert record(gateway.address, order("both"), order(f"{number}")) == ["ACCEPTED", "ACCEPTED"]
    eventually(lambda: found(journal) == ["0", "1", "both", "both"])
    for gateway in gateways:
        assert gateway.terminate() == 0
    assert found(journal) == ["0", "1", "both", "both"]


def fill(file: Path) -> None:
    """Write to *file* until the disk is full."""
    with file.open("wb", buffering=0) as opened:
        while True:
            opened.write(bytes(4096))


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


def test_on_a_full_disk_nothing_is_acknowledged_and_all_is_taken_once_there_is_room(
    tiny_store: Path, tmp_path: Path, small_disk: Path, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(tiny_store, *configured(tmp_path, small_disk))
    acknowledged = ["first"]
    assert record(gateway.address, order("first")) == ["ACCEPTED"]
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        fill(ballast)

    def taken(names: Sequence[str]) -> errors.TurnoutError | None:
        try:
            record(gateway.address, *map(order, names))
        except grpc.RpcError as error:
            return errors.from_rpc(error, gateway.address, "Record", None)
        acknowledged.extend(names)
        return None

    batches = iter(range(1_000_000))

    def refusal() -> errors.TurnoutError | None:
        batch = next(batches)
        return taken([f"{batch}-{number}" for number in range(500)])

    error = eventually(refusal)  # the file's own free pages go first
    assert (error.code, error.reason, error.retry_after) == ("UNAVAILABLE", "OUTCOMES_UNAVAILABLE", 1.0)
    assert metrics(gateway, "turnout_outcomes_writable") == {(): 0.0}
    ballast.unlink()
    eventually(lambda: taken(["last"]) is None)
    eventually(lambda: set(acknowledged) <= set(found(small_disk)))
    assert gateway.terminate() == 0
    assert len(found(small_disk)) == len(set(found(small_disk)))
