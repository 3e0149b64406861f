"""What is recorded is what is read, exactly, and there is an end to it."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.world import count_run
from tests.records import record, refused
from turnout_server.instruments.families import Buckets, Family, Histogram
from turnout_server.instruments.instruments import RETIRED_KEPT, Instruments
from turnout_server.serving.state import State, VersionStatus
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.versions import VersionKey

DECISION = Decision("price", "control", "price", 3, Reason.SPLIT)
BOUNDS = (1, 10, 100)

served = st.builds(
    Decision,
    st.sampled_from(["", "price", "rank"]),
    st.sampled_from(["control", "canary"]),
    st.sampled_from(["price", "rank"]),
    st.integers(1, 3),
    st.sampled_from(Reason),
    available=st.just(True),
)


def family(instruments: Instruments, name: str) -> Family:
    return next(family for family in instruments.families() if family.name == name)


def state(version: int, state: State) -> VersionStatus:
    return VersionStatus(VersionKey("price", version), state)


@given(st.lists(st.integers(0, 200)))
def test_a_histogram_counts_every_value_once(values: list[int]) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.add(value)
    read = histogram.read()
    places = Counter(sum(value > bound for bound in BOUNDS) for value in values)
    assert read == Buckets((1.0, 10.0, 100.0), tuple(places[index] for index in range(4)), sum(values))


@pytest.mark.parametrize(("value", "bucket"), [(0, 0), (1, 0), (2, 1), (10, 1), (100, 2), (101, 3)])
def test_a_bound_belongs_to_the_bucket_below_it(value: int, bucket: int) -> None:
    histogram = Histogram(BOUNDS)
    histogram.add(value)
    assert histogram.read().counts.index(1) == bucket == bisect_left(BOUNDS, value)


def test_what_was_read_does_not_change() -> None:
    histogram = Histogram(BOUNDS)
    before = histogram.read()
    histogram.add(5)
    assert before == Buckets((1.0, 10.0, 100.0), (0, 0, 0, 0), 0)


@given(st.lists(st.tuples(served, st.sampled_from(["OK", "QUEUE_FULL"]), st.integers(0, 10**11))))
def test_requests_and_durations_agree(requests: list[tuple[Decision, str, int]]) -> None:
    instruments = Instruments()
    for one, code, took_ns in requests:
        instruments.read(record(one, code, took_ns))
    counts = Counter((*one[:4], one.reason.value, code) for one, code, _ in requests)
    assert dict(family(instruments, "turnout.requests").points) == counts
    durations = dict(family(instruments, "turnout.request.duration").points)
    totals = Counter(one[:4] for one, _, _ in requests)
    assert {key: sum(each.counts) for key, each in durations.items() if isinstance(each, Buckets)} == totals


def test_a_request_without_a_target_is_counted_under_its_route_alone() -> None:
    instruments = Instruments()
    instruments.read(refused("", "ROUTE_NOT_FOUND"))
    instruments.read(refused("price", "VERSION_UNAVAILABLE"))
    instruments.read(refused("price", "VERSION_UNAVAILABLE"))
    assert dict(family(instruments, "turnout.requests").points) == {
        ("", "", "", "", "", "ROUTE_NOT_FOUND"): 1,
        ("price", "", "", "", "", "VERSION_UNAVAILABLE"): 2,
    }


def test_a_kept_handle_and_a_lookup_count_into_the_same_histograms() -> None:
    instruments = Instruments()
    count_run(instruments.runs_of("price", 3), 1_000, 2_000, 4)
    count_run(instruments.runs_of("price", 3), 1_000, 2_000, 4)
    for name in ("turnout.queue.duration", "turnout.run.duration", "turnout.batch.rows"):
        ((key, read),) = family(instruments, name).points
        assert key == ("price", 3)
        assert isinstance(read, Buckets)
        assert sum(read.counts) == 2


def test_every_series_has_a_value_for_every_label() -> None:
    instruments = Instruments()
    instruments.read(record(DECISION, "OK", 1))
    instruments.read(refused("", "X"))
    count_run(instruments.runs_of("price", 3), 1, 1, 1)
    instruments.record_mirror("price", "price", "3", "sent")
    instruments.record_rpc("a.B/C", "OK", 1)
    instruments.record_state(state(3, State.AVAILABLE))
    instruments.record_reload("ok")
    instruments.record_look("ok")
    instruments.record_restart("store")
    instruments.record_message("a.B/C", "OK")
    runs = instruments.runs_of("price", 3)
    runs.feature_rows, runs.odd = 2, {("carat", "nan"): 1}
    for each in instruments.families():
        assert each.points, each.name
        assert {len(labels) for labels, _ in each.points} == {len(each.labels)}, each.name


def test_a_version_is_in_one_state_and_a_load_counts_when_it_ends() -> None:
    instruments = Instruments()
    for each in (State.LOADING, State.FAILED, State.LOADING, State.AVAILABLE):
        instruments.record_state(state(3, each))
    assert family(instruments, "turnout.model.state").points == ((("price", 3, "AVAILABLE"), 1),)
    assert dict(family(instruments, "turnout.model.loads").points) == {("price", "failed"): 1, ("price", "ok"): 1}
    instruments.record_state(state(3, State.UNLOADING))
    instruments.record_state(state(3, State.STORED))
    assert family(instruments, "turnout.model.state").points == ()


def serve(instruments: Instruments, version: int) -> None:
    instruments.record_state(state(version, State.AVAILABLE))
    instruments.read(record(DECISION._replace(version=version), "OK", 1))
    count_run(instruments.runs_of("price", version), 1, 1, 1)


def test_years_of_publishing_do_not_pile_up() -> None:
    instruments = Instruments()
    for version in range(1, 10 * RETIRED_KEPT):
        serve(instruments, version)
        instruments.record_state(state(version, State.STORED))
    serve(instruments, 10_000)
    kept = {10_000, *range(9 * RETIRED_KEPT, 10 * RETIRED_KEPT)}
    for name, position in (("turnout.requests", 3), ("turnout.request.duration", 3), ("turnout.run.duration", 1)):
        assert {labels[position] for labels, _ in family(instruments, name).points} == kept, name


def test_a_version_that_is_loaded_again_keeps_its_counts() -> None:
    instruments = Instruments()
    serve(instruments, 1)
    instruments.record_state(state(1, State.STORED))
    instruments.record_state(state(1, State.AVAILABLE))
    for version in range(2, 3 * RETIRED_KEPT):
        serve(instruments, version)
        instruments.record_state(state(version, State.STORED))
    assert ("price", "control", "price", 1, "SPLIT", "OK") in dict(family(instruments, "turnout.requests").points)


def test_it_may_be_read_on_another_thread_at_any_time() -> None:
    instruments, done = Instruments(), threading.Event()

    def read() -> list[int]:
        totals = []
        while not done.is_set():
            points = family(instruments, "turnout.request.duration").points
            totals.append(sum(sum(buckets.counts) for _, buckets in points if isinstance(buckets, Buckets)))
        return totals

    with ThreadPoolExecutor(1) as reader:
        totals = reader.submit(read)
        for number in range(2_000):
            instruments.read(record(DECISION._replace(version=number), f"CODE_{number}", number))
            count_run(instruments.runs_of("price", number), 1, 1, 1)
        done.set()
        seen = totals.result()
    assert seen == sorted(seen)
    assert len(family(instruments, "turnout.requests").points) == 2_000
