"""Loops under a simulated clock."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.simulation import Network
from turnout_server.load import loops
from turnout_server.load.answerer import Sample
from turnout_server.load.loops import TICK_S, ClosedLoop, OpenLoop, at_random, evenly
from turnout_server.load.tally import Tally

NONE_READ = "/some.Service/Method"


class Idle:
    """Counts how often it was told that nothing is under way."""

    def __init__(self) -> None:
        self.told = 0

    def __call__(self) -> None:
        self.told += 1


def tally(opens: float = 0.0) -> Tally:
    return Tally(opens, Sample(NONE_READ))


def drive(loop: OpenLoop, network: Network, until: float, late: float = 0.0) -> None:
    """Tick when the loop asks for it, or *late* seconds later."""

    def tick() -> None:
        again = loop.tick(network.now)
        if again + late < until:
            network.at(again + late, tick)

    network.at(network.now, tick)
    network.run_until(until)


# ---------------------------------------------------------------- closed


@given(st.integers(1, 20), st.lists(st.floats(0.001, 1.0), min_size=1, max_size=10))
def test_callers_have_one_call_each_under_way(concurrency: int, takes: list[float]) -> None:
    network = Network(lambda number, body: takes[number % len(takes)])
    counts = tally()
    loop = ClosedLoop([b"a"], [network.connection()], concurrency, counts, Idle())
    assert loop.tick(0.0) == math.inf
    for step in range(1, 30):
        network.run_until(step * 0.1)
        assert loop.in_flight == concurrency
        assert len(network.sent) - counts.calls == concurrency


def test_a_caller_sends_its_next_request_when_its_last_is_answered() -> None:
    network = Network(lambda number, body: 0.25)
    ClosedLoop([b"a"], [network.connection()], 1, tally(), Idle()).tick(0.0)
    network.run_until(1.1)
    assert [one.at for one in network.sent] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_requests_and_connections_take_turns() -> None:
    network = Network(lambda number, body: 1.0)
    ClosedLoop([b"a", b"b", b"c"], [network.connection(n) for n in range(2)], 4, tally(), Idle()).tick(0.0)
    network.run_until(1.5)
    assert b"".join(one.body for one in network.sent) == b"abcabcab"
    assert [one.connection for one in network.sent] == [0, 1, 0, 1, 0, 1, 0, 1]


def test_a_failed_call_is_followed_by_the_next() -> None:
    network = Network(lambda number, body: 1.0, code=lambda number, body: "INTERNAL")
    counts = tally()
    ClosedLoop([b"a"], [network.connection()], 1, counts, Idle()).tick(0.0)
    network.run_until(3.5)
    assert (len(network.sent), counts.codes["INTERNAL"]) == (4, 3)


def test_after_the_stop_calls_end_and_none_begins() -> None:
    network, idle = Network(lambda number, body: 1.0 + number), Idle()
    loop = ClosedLoop([b"a"], [network.connection()], 3, tally(), idle)
    loop.tick(0.0)
    assert loop.stop(0.5) == 0
    network.run_until(2.5)
    assert (loop.in_flight, idle.told) == (1, 0)
    network.run_until(10.0)
    assert (loop.in_flight, idle.told, len(network.sent)) == (0, 1, 3)


# ---------------------------------------------------------------- open


@given(st.floats(0.5, 5000.0), st.floats(0.0, 0.003))
def test_each_request_leaves_at_its_time_whatever_the_answers_take(rate: float, late: float) -> None:
    network = Network(lambda number, body: None)
    loop = OpenLoop([b"a"], [network.connection()], evenly(0.0, rate), tally(), Idle())
    drive(loop, network, 1.0, late)
    for number, one in enumerate(network.sent):
        assert number / rate - TICK_S - 1e-9 <= one.at <= number / rate + TICK_S + late + 1e-9
    assert loop.stop(1.0) == 0
    assert len(network.sent) >= math.floor(rate) + 1


@given(st.integers(0, 1000), st.floats(1.0, 5000.0))
def test_random_arrivals_come_at_the_rate_and_as_irregularly_as_poissons(seed: int, rate: float) -> None:
    """Counts in equal spans vary as much as they are high; evenly spaced, they would hardly vary at all."""
    spans = 200
    times = itertools.takewhile(lambda due: due < spans * 10 / rate, at_random(0.0, rate, seed))
    counts = Counter(int(due * rate / 10) for due in times)
    in_spans = [counts[span] for span in range(spans)]
    assert statistics.fmean(in_spans) == pytest.approx(10.0, rel=0.15)
    assert 5.0 < statistics.pvariance(in_spans) < 20.0


def test_the_loop_is_asked_to_tick_once_a_request_when_they_are_far_apart() -> None:
    network = Network(lambda number, body: None)
    loop = OpenLoop([b"a"], [network.connection()], evenly(0.0, 10.0), tally(), Idle())
    assert loop.tick(0.0) == pytest.approx(0.1 - TICK_S)
    assert loop.tick(0.1 - TICK_S) == pytest.approx(0.2 - TICK_S)


def test_latency_counts_from_when_a_request_was_due() -> None:
    """The event loop hangs for a second; the requests that it kept from leaving have waited for that long."""
    network = Network(lambda number, body: 0.01)
    counts = tally()
    loop = OpenLoop([b"a"], [network.connection()], evenly(0.0, 10.0), counts, Idle())
    loop.tick(0.0)
    network.run_until(1.0)
    loop.tick(1.0)
    network.run_until(2.0)
    assert counts.latency.count == 11
    assert counts.latency.max == pytest.approx(0.9 + 0.01)  # the second, due at 0.1, left at 1.0
    assert counts.latency.min == pytest.approx(0.01)


def test_a_request_that_leaves_early_is_not_quicker_for_it() -> None:
    network = Network(lambda number, body: 0.01)
    counts = tally()
    loop = OpenLoop([b"a"], [network.connection()], evenly(0.0005, 1000.0), counts, Idle())
    loop.tick(0.0)
    network.run_until(1.0)
    assert (counts.latency.count, counts.latency.min) == (1, pytest.approx(0.01))


def test_a_stall_shows_in_the_latency_of_all_that_it_held_up() -> None:
    """A server answers one at a time and stalls once: a closed loop would have seen one slow answer.

    Of the 100 requests that were due meanwhile, each waits for 9 ms less than the one before: 55 for more than 0.5 s.
    """
    free_at = 0.0

    def takes(number: int, body: bytes) -> float:
        nonlocal free_at
        free_at = max(free_at, network.now) + (1.0 if number == 10 else 0.001)
        return free_at - network.now

    network = Network(takes)
    counts = tally()
    loop = OpenLoop([b"a"], [network.connection()], evenly(0.0, 100.0), counts, Idle())
    drive(loop, network, 2.0)
    loop.stop(2.0)
    network.run_until(9.0)
    assert counts.latency.count == len(network.sent) == 201
    assert counts.latency.percentile(75.0) > 0.5
    assert counts.latency.max == pytest.approx(1.0, rel=0.01)


def test_what_finds_no_room_waits_in_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "MAX_IN_FLIGHT", 5)
    network = Network(lambda number, body: 1.0)
    counts = tally()
    loop = OpenLoop([b"a"], [network.connection()], evenly(0.0, 10.0), counts, Idle())
    drive(loop, network, 1.95)
    assert (loop.sent, loop.in_flight) == (10, 5)
    assert loop.stop(1.95) == 10  # of the twenty due from 0 to 1.9
    network.run_until(9.0)
    assert counts.latency.max == pytest.approx(1.5, rel=0.01)  # the tenth, due at 0.9, left at 1.4


def test_an_open_loop_is_idle_once_its_last_call_has_ended() -> None:
    network, idle = Network(lambda number, body: 0.5), Idle()
    loop = OpenLoop([b"a"], [network.connection()], evenly(0.0, 1.0), tally(), idle)
    drive(loop, network, 3.2)
    assert (loop.in_flight, loop.stop(3.2), idle.told) == (1, 0, 0)
    assert loop.tick(3.3) == math.inf
    network.run_until(9.0)
    assert (idle.told, len(network.sent)) == (1, 4)


def test_a_stop_with_nothing_under_way_is_idle_at_once() -> None:
    idle = Idle()
    ClosedLoop([b"a"], [Network(lambda number, body: None).connection()], 1, tally(), idle).stop(0.0)
    assert idle.told == 1
