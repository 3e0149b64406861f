"""`turnout health` where the quick way does not do: `test_probe.py` has that."""

from __future__ import annotations

import contextlib

import pytest

from tests.cli.conftest import Run
from turnout_server.cli import health, probe


def test_what_the_probe_says_is_printed_and_exited_by(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ask", lambda *arguments: ("NOT_SERVING", "route 'a': dead"))
    ran = run("health", "--service", "route/a")
    assert (ran.code, ran.out) == (1, "NOT_SERVING: route 'a': dead\n")
    ran = run("health", "--json")
    assert (ran.code, ran.json["status"], ran.json["why"]) == (1, "NOT_SERVING", "route 'a': dead")


def test_nobody_there_is_1(run: Run) -> None:
    ran = run("health", "--target", "127.0.0.1:1")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "turnout: error: 127.0.0.1:1: Connection refused (UNAVAILABLE)\n"


def test_why_is_asked_by_hand_where_a_client_has_heard_that_it_does_not_serve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Client:
        def health(self, service: str) -> str:
            return "NOT_SERVING"

    def ask(target: str, service: str, timeout_s: float, *, any_name: bool = False) -> probe.Answer | None:
        return ("NOT_SERVING", "why") if any_name else None

    monkeypatch.setattr(probe, "ask", ask)
    monkeypatch.setattr(health.options, "connected", lambda *given, **more: contextlib.nullcontext(Client()))
    assert health.asked("gateway:8001", "", 0.5) == ("NOT_SERVING", "why")


def test_a_real_client_asks_where_the_probe_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ask", lambda *arguments: None)
    with pytest.raises(health.CommandError, match="UNAVAILABLE") as caught:
        health.asked("127.0.0.1:1", "", 0.5)
    assert caught.value.code == 1
