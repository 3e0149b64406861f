"""What never ends does not keep the process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from structlog.testing import capture_logs

from tests.e2e.conftest import environment
from turnout_server import ends
from turnout_server.ends import STUCK_CODE, Departure
from turnout_server.gateway import shadow
from turnout_server.journal import journal
from turnout_server.outcomes import intake
from turnout_server.telemetry import logs, otlp, prometheus
from turnout_server.transport import engine, engine_calls

PATIENCE_S = 30


def test_a_departure_leaves_with_a_code_and_says_what_was_still_running() -> None:
    left, flushed = threading.Event(), []
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    departure = Departure(leave, flushed.append)
    with pytest.MonkeyPatch.context() as patched, capture_logs() as logged:
        patched.setattr(ends, "_HARDER_S", 3600.0)  # that is not a function of the test
        departure.begin(3600)
        departure.begin(0)
        assert left.wait(PATIENCE_S)
        departure.over()
    assert (codes, len(flushed)) == ([STUCK_CODE], 1)
    assert logged[0]["event"] == "the process does not end; it leaves all the same"


def test_whoever_is_waited_for_at_the_end_has_the_time() -> None:
    """They wait one after the other: `app.serve` lets go of them in this order."""
    answers = engine._ANSWERS_S + 2 * engine_calls.IN_TRANSIT_S
    comparing, keeping = shadow.PATIENCE_S, journal.CLOSE_S + journal.LAST_STORE_S + intake.CLOSE_S
    loads, unloads, pools = ends.PATIENCE_S, ends.PATIENCE_S, 3 * ends.PATIENCE_S
    telling = prometheus._PATIENCE_S + otlp.CLOSING_S + otlp._ABORTING_S + logs.CLOSING_S
    assert answers + comparing + keeping + loads + unloads + pools + telling <= ends.LEAVING_S


def test_a_departure_that_is_over_leaves_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    departure = Departure(codes.append, lambda seconds: None)
    departure.begin(3600)
    departure.over()
    for thread in threading.enumerate():
        if thread.name == "departure":
            thread.join(PATIENCE_S)
    assert codes == []
    assert "departure" not in [thread.name for thread in threading.enumerate()]


STUCK = """\
import ctypes, os, signal, sys, threading
from turnout_server.ends import Departure, heeding
departure = Departure(os._exit, lambda seconds: None)
with heeding(lambda: departure.begin(0), (signal.SIGTERM,)):
    print("ready", flush=True)
    while True:
        {stuck}
"""


@pytest.mark.parametrize("stuck", ["ctypes.CDLL(None).pause()", "threading.Event().wait()"])
def test_a_signal_is_heeded_while_the_main_thread_is_stuck(stuck: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(stuck=stuck)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == STUCK_CODE, said


GIL = """\
import os, re, signal
from turnout_server import ends
from turnout_server.ends import Departure, heeding
ends._HARDER_S = 0.1
departure = Departure(lambda code: None, lambda seconds: None)
departure.begin(0)
print("ready", flush=True)
re.match("(a+)+$", "a" * 60 + "b")
"""


def test_a_process_whose_lock_is_held_is_left_too() -> None:
    """The regular expression takes years and does not let go of Python's lock."""
    ran = subprocess.run(
        [sys.executable, "-c", GIL], env=environment(), capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert ran.returncode == 1
