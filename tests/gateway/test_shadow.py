"""Pairs are compared elsewhere, within bounds, and whoever offered one is told once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import pytest

from turnout_server.gateway import shadow
from turnout_server.gateway.shadow import BUSY, CLOSING, FAILED, MAX_PAIRS, MAX_TEXTS, Comparer
from turnout_server.gateway.worst_pairs import SHOWN
from turnout_server.tasks.comparison import MAX_ELEMENTS, TOO_LARGE, UNLIKE
from turnout_server.tasks.summary import MAX_BYTES
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.record import OK, Comparison, Record
from turnout_server.vocabulary.tensors import Arrays

DECISION = Decision("price", "", "price", 2, Reason.SPLIT)
RECORD = Record(7, 90_000_000_000, 1, OK, DECISION, "price")
PATIENCE_S = 30.0


class Pair(NamedTuple):
    task: str
    original: Arrays
    copy: Arrays
    record: Record = RECORD
    copied: Decision = DECISION


class Loop:
    """What is to be called soon, called when asked to."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.found: list[Comparison] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.put(call)

    def run(self, until: int) -> list[Comparison]:
        """Call what is to be called until there are so many results."""
        while len(self.found) < until:
            self.calls.get(timeout=PATIENCE_S)()
        return self.found


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def comparer(loop: Loop) -> Iterator[Comparer]:
    with Comparer(loop.call_soon) as comparer:
        yield comparer


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Comparing waits; whether it has begun, and what lets it go on."""
    begun, go_on = threading.Event(), threading.Event()

    def compare(task: str, original: Arrays, copy: Arrays) -> Comparison:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return Comparison()

    monkeypatch.setattr(shadow, "compare", compare)
    yield begun, go_on
    go_on.set()


def pair(original: float = 1.0, copy: float = 1.5) -> Pair:
    return Pair("price", {"price": np.array([original])}, {"price": np.array([copy])})


def test_a_pair_is_compared_and_the_loop_is_told(comparer: Comparer, loop: Loop) -> None:
    assert comparer.offer(pair(1, 1), loop.found.append) == ""
    assert comparer.offer(pair(2, 3), loop.found.append) == ""
    one, other = loop.run(2)
    assert (one.delta, one.note) == (0, "")
    assert other.delta == 0.5


def test_results_come_in_batches(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    has_begun_last = threading.Event()

    def compare(task: str, original: Arrays, copy: Arrays) -> Comparison:
        begun.append(task)
        if len(begun) == 10:
            has_begun_last.set()
        return Comparison()

    monkeypatch.setattr(shadow, "compare", compare)
    comparer = Comparer(loop.call_soon)
    for _ in range(10):
        comparer.offer(pair(), loop.found.append)
    with comparer:
        assert has_begun_last.wait(PATIENCE_S)
        assert loop.found == []
        assert loop.calls.qsize() == 1
        loop.calls.get()()
        assert len(loop.found) >= 9
        loop.run(10)


def test_the_worst_pairs_show_both_answers(comparer: Comparer, loop: Loop) -> None:
    for _ in range(SHOWN + 1):
        comparer.offer(pair(), loop.found.append)
    *worst, last = loop.run(SHOWN + 1)
    for each in worst:
        note = json.loads(each.note)
        assert note["original"]["price"]["values"] == [1.0]
        assert note["copy"]["price"]["values"] == [1.5]
        assert len(each.note) <= 2 * MAX_BYTES + 100
        assert each.delta == 0.5
    assert last.note == ""


def test_what_is_shown_keeps_its_word(comparer: Comparer, loop: Loop) -> None:
    comparer.offer(Pair("tensors", {"a": np.zeros(1)}, {"b": np.zeros(1)}), loop.found.append)
    assert json.loads(loop.run(1)[0].note)["note"] == UNLIKE


def test_a_full_queue_is_busy(loop: Loop) -> None:
    comparer = Comparer(loop.call_soon)
    assert [comparer.offer(pair(), loop.found.append) for _ in range(MAX_PAIRS)] == [""] * MAX_PAIRS
    assert comparer.offer(pair(), loop.found.append) == BUSY
    with comparer:
        loop.run(MAX_PAIRS)
        assert comparer.offer(pair(), loop.found.append) == ""


def test_the_pair_that_is_being_compared_counts_too(
    comparer: Comparer, loop: Loop, held: tuple[threading.Event, threading.Event]
) -> None:
    begun, go_on = held
    comparer.offer(pair(), loop.found.append)
    assert begun.wait(PATIENCE_S)
    found = [comparer.offer(pair(), loop.found.append) for _ in range(MAX_PAIRS)]
    assert found == [""] * (MAX_PAIRS - 1) + [BUSY]
    go_on.set()


def test_bytes_are_bounded_and_given_back(loop: Loop) -> None:
    comparer = Comparer(loop.call_soon)
    half = {"a": np.zeros(MAX_ELEMENTS // 2)}
    large = Pair("tensors", half, half)
    fit = shadow.MAX_BYTES // (2 * half["a"].nbytes)
    assert [comparer.offer(large, loop.found.append) for _ in range(fit)] == [""] * fit
    assert comparer.offer(pair(), loop.found.append) == BUSY
    with comparer:
        loop.run(fit)
        assert comparer.offer(large, loop.found.append) == ""


@pytest.mark.parametrize(
    "outputs",
    [
        {"a": np.zeros(MAX_ELEMENTS + 1, np.uint8)},
        {"a": np.full(MAX_TEXTS + 1, "", object)},
        {"a": np.array(["x" * (shadow.MAX_BYTES + 1)], object)},
    ],
)
def test_what_is_too_large_is_refused(outputs: Arrays, loop: Loop) -> None:
    assert Comparer(loop.call_soon).offer(Pair("tensors", outputs, {}), loop.found.append) == TOO_LARGE
    assert loop.found == []


@pytest.mark.parametrize("buffered", [False, True])
def test_rows_of_a_large_batch_do_not_keep_it(
    comparer: Comparer, loop: Loop, monkeypatch: pytest.MonkeyPatch, buffered: bool
) -> None:
    seen: list[Arrays] = []
    monkeypatch.setattr(shadow, "compare", lambda task, one, other: seen.extend((one, other)) or Comparison())
    batch = np.frombuffer(bytes(8000)) if buffered else np.zeros((10, 100)).reshape(-1)
    whole = np.zeros(100)
    comparer.offer(Pair("tensors", {"a": batch[:100]}, {"a": whole, "b": batch[:600]}), loop.found.append)
    loop.run(1)
    assert not np.shares_memory(seen[0]["a"], batch)
    assert seen[1]["a"] is whole
    assert np.shares_memory(seen[1]["b"], batch)


def test_a_failure_is_told_and_the_next_pair_is_compared(
    comparer: Comparer, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = shadow.compare
    monkeypatch.setattr(shadow, "compare", lambda *_: 1 / 0)
    comparer.offer(pair(), loop.found.append)
    assert loop.run(1) == [Comparison(note=FAILED)]
    monkeypatch.setattr(shadow, "compare", compare)
    comparer.offer(pair(1, 1), loop.found.append)
    assert loop.run(2)[1].delta == 0


def test_trouble_with_one_result_does_not_keep_the_others(loop: Loop) -> None:
    comparer = Comparer(loop.call_soon)

    def fail(comparison: Comparison) -> None:
        raise ValueError

    comparer.offer(pair(), fail)
    comparer.offer(pair(), loop.found.append)
    with comparer:
        assert loop.run(1)[0].delta == 0.5


def test_closing_tells_all_that_wait(
    loop: Loop, held: tuple[threading.Event, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = held
    monkeypatch.setattr(shadow, "PATIENCE_S", 0.0)
    with Comparer(loop.call_soon) as comparer:
        comparer.offer(pair(), loop.found.append)
        assert begun.wait(PATIENCE_S)
        comparer.offer(pair(), loop.found.append)
    assert loop.found == [Comparison(note=CLOSING)] * 2
    assert comparer.offer(pair(), loop.found.append) == CLOSING
    go_on.set()
    comparer._thread.join(PATIENCE_S)
    comparer.close()
    assert not comparer._thread.is_alive()
    assert loop.calls.empty()
    assert len(loop.found) == 2


def test_closing_passes_on_what_is_done(loop: Loop, held: tuple[threading.Event, threading.Event]) -> None:
    begun, go_on = held
    with Comparer(loop.call_soon) as comparer:
        comparer.offer(pair(), loop.found.append)
        assert begun.wait(PATIENCE_S)
        go_on.set()
    assert loop.found == [Comparison()]
    loop.run(1)


def test_a_closed_loop_is_no_trouble(loop: Loop) -> None:
    refused = threading.Event()

    def call_soon(call: Callable[[], None]) -> None:
        refused.set()
        raise RuntimeError("Event loop is closed")

    with Comparer(call_soon) as comparer:
        comparer.offer(pair(1, 1), loop.found.append)
        assert refused.wait(PATIENCE_S)
    assert loop.found[0].delta == 0
    assert len(loop.found) == 1
