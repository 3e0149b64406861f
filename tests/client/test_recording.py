"""Clients send outcomes in the background, many at once, and again until a server has them: both clients."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

import turnout
from tests.client.conftest import Connect
from tests.client.fake import Failure, FakeGateway, status_details
from tests.e2e.conftest import environment
from turnout import OutcomeCounts, recording, v1

OFF = Failure(grpc.StatusCode.FAILED_PRECONDITION, "off", status_details("OUTCOMES_OFF"))
AWAY = Failure(grpc.StatusCode.UNAVAILABLE, "away", status_details("OUTCOMES_UNAVAILABLE", 0.01))


def test_flush_waits_until_a_server_has_all(gateway: FakeGateway, client: Any) -> None:
    names = [client.outcome("order", 2.5, unit=f"u-{number}") for number in range(3)]
    assert client.flush() == OutcomeCounts(accepted=3)
    assert list(gateway.outcomes) == names
    kept = gateway.outcomes[names[0]]
    assert (kept.name, kept.value, kept.unit) == ("order", 2.5, "u-0")


def test_many_go_together_and_no_call_has_more_than_a_thousand(gateway: FakeGateway, client: Any) -> None:
    gateway.open.clear()
    for number in range(2500):
        client.outcome("click", unit="u", outcome_id=str(number))
    gateway.open.set()
    assert client.flush() == OutcomeCounts(accepted=2500)
    sizes = [len(one.request.outcomes) for one in gateway.seen]
    assert max(sizes) <= 1000
    assert len(sizes) <= 4
    assert list(gateway.outcomes) == [str(number) for number in range(2500)]


def test_a_server_that_was_away_gets_the_same_ids_again(gateway: FakeGateway, connect: Connect) -> None:
    client = connect(retries=0)
    gateway.failures.extend([AWAY] * 3)
    name = client.outcome("order", unit="u")
    assert client.flush() == OutcomeCounts(accepted=1)
    assert [one.request.outcomes[0].outcome_id for one in gateway.seen] == [name] * 4


def test_what_the_server_has_already_is_a_duplicate(gateway: FakeGateway, client: Any) -> None:
    for _ in range(2):
        client.outcome("order", unit="u", outcome_id="order-1")
    client.outcome("wrong", unit="u")
    assert client.flush() == OutcomeCounts(accepted=1, duplicate=1, rejected=1)


def test_flush_tells_of_a_server_that_would_not_have_them(gateway: FakeGateway, client: Any) -> None:
    gateway.failures.append(OFF)
    client.outcome("order", unit="u")
    with pytest.raises(turnout.ConflictError) as raised:
        client.flush()
    assert raised.value.reason == "OUTCOMES_OFF"
    assert client.flush() == OutcomeCounts(lost=1)


def test_flush_ends_in_time_and_what_waits_goes_on_waiting(gateway: FakeGateway, client: Any) -> None:
    gateway.open.clear()
    client.outcome("order", unit="u")
    with pytest.raises(turnout.TurnoutError):
        client.flush(timeout=0.3)
    gateway.open.set()
    counts = client.flush()  # the server may have had it, and nobody heard
    assert (counts.accepted + counts.duplicate, counts.lost, counts.waiting) == (1, 0, 0)
    assert len(gateway.outcomes) == 1


def test_the_unit_is_the_clients_unless_the_outcome_says_who(gateway: FakeGateway, connect: Connect) -> None:
    client = connect(unit="ann")
    for values in ({}, {"unit": "bob"}, {"request_id": "r-1"}):
        client.outcome("order", **values)
    client.flush()
    subjects = [(one.unit, one.request_id) for one in gateway.outcomes.values()]
    assert subjects == [("ann", ""), ("bob", ""), ("", "r-1")]
    with pytest.raises(ValueError, match="not both"):
        client.outcome("order", unit="ann", request_id="r-1")


def test_without_anybody_to_ascribe_it_to_it_is_refused(client: Any) -> None:
    with pytest.raises(ValueError, match="unit or a request_id"):
        client.outcome("order")


def test_what_does_not_fit_is_dropped_or_refused_as_the_client_was_told(gateway: FakeGateway, connect: Connect) -> None:
    gateway.open.clear()
    client, strict = connect(outcome_buffer=2), connect(outcome_buffer=1, outcome_must_fit=True)
    for _ in range(3):
        client.outcome("order", unit="u")
    strict.outcome("order", unit="u")
    with pytest.raises(turnout.OverloadedError):
        strict.outcome("order", unit="u")
    gateway.open.set()
    assert client.flush() == OutcomeCounts(accepted=2, lost=1)


def test_closing_sends_what_waits(gateway: FakeGateway, client: Any) -> None:
    client.outcome("order", unit="u", outcome_id="last")
    client.close()
    assert list(gateway.outcomes) == ["last"]
    with pytest.raises(ValueError, match="closed"):
        client.outcome("order", unit="u")


def test_closing_takes_no_longer_than_it_may(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "CLOSE_S", 0.05)
    client = connect("127.0.0.1:1", retries=0)
    client.outcome("order", unit="u")
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.outcome("order", unit="u")


class Leaving(recording.Recorder):
    """Has something to send, which takes so long, or as long as it may where it is to a gateway that is silent."""

    def __init__(self, now: list[float], takes_s: float) -> None:
        self.now, self.takes_s, self.had_s = now, takes_s, 0.0

    @property
    def waits(self) -> bool:
        return self.takes_s > 0

    def close(self, within_s: float | None = None) -> None:
        assert within_s is not None
        self.had_s = within_s
        self.now[0] += min(within_s, self.takes_s)


def test_all_clients_of_a_process_that_ends_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    clients = [Leaving(now, takes_s) for takes_s in (0.1, 60.0, 0.0, 60.0, 0.2)]
    monkeypatch.setattr(recording, "_open", clients)
    monkeypatch.setattr(recording, "clock", SimpleNamespace(monotonic=lambda: now[0]))
    recording._close_all()
    assert now[0] <= 100.0 + recording.CLOSE_S
    assert clients[2].had_s == 0.0, "it has nothing to send"
    assert all(one.had_s >= recording.CLOSE_S / 4 for one in clients if one.waits)


# ---------------------------------------------------------------- the background


class Telling(FakeGateway):
    """Tells when it has kept something."""

    kept = threading.Event()

    def Record(self, request: v1.RecordRequest, context: Any) -> v1.RecordResponse:  # noqa: N802
        answer = super().Record(request, context)
        self.kept.set()
        return answer


def test_they_are_sent_without_a_flush() -> None:
    gateway = Telling()
    try:
        with turnout.Client(gateway.target) as client:
            client.outcome("order", unit="u", outcome_id="a")
            assert gateway.kept.wait(30)
            assert list(gateway.outcomes) == ["a"]
    finally:
        gateway.stop()


async def test_they_are_sent_without_a_flush_by_a_task(gateway: FakeGateway) -> None:
    async with turnout.AsyncClient(gateway.target) as client:
        await client.outcome("order", unit="u", outcome_id="a")
        async with asyncio.timeout(30):
            while client.outcomes.waiting:
                await asyncio.sleep(0.01)
        assert client.outcomes == OutcomeCounts(accepted=1)
        assert list(gateway.outcomes) == ["a"]


def test_threads_share_a_client_and_each_outcome_is_there_once(gateway: FakeGateway) -> None:
    with turnout.Client(gateway.target) as client:

        def call(caller: int) -> None:
            for number in range(200):
                client.outcome("click", unit="u", outcome_id=f"{caller}-{number}")
            client.flush()

        threads = [threading.Thread(target=call, args=(caller,)) for caller in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.outcomes == OutcomeCounts(accepted=800)
    assert len(gateway.outcomes) == 800


PROGRAM = """
import sys, turnout
client = turnout.Client(sys.argv[1])
client.outcome("order", unit="u", outcome_id="last words")
"""


ASYNC_PROGRAM = """
import asyncio, sys, turnout
client = turnout.AsyncClient(sys.argv[1])
async def main():
    await client.health()
    await client.outcome("order", unit="u", outcome_id="last words")
asyncio.run(main())
"""


@pytest.mark.parametrize("program", [PROGRAM, ASYNC_PROGRAM])
def test_a_program_that_forgets_to_close_sends_what_waits(gateway: FakeGateway, program: str) -> None:
    command = [sys.executable, "-c", program, gateway.target]
    subprocess.run(command, check=True, env=environment(), timeout=60)
    assert list(gateway.outcomes) == ["last words"]
