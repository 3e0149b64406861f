"""Every data plane gives the same answers, counts the same, and writes the same records.

Two gateways serve one store, made up from a seed; thousands of calls, made up likewise, go to both. To look into a
failure, or for others:

    TURNOUT_DIFF_SEED=7 TURNOUT_DIFF_REQUESTS=20000 python -m pytest tests/differential

`planes.py` has the pairs, `world.py` the store, `inferences.py` and `others.py` what is asked, `wire.py` how it is
written, and `generator.py` which of that comes next.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import NamedTuple

import pytest
from google.protobuf.message import DecodeError

from tests.differential import chance
from tests.differential.answers import Answer, shown
from tests.differential.calls import INFER, STREAM, TYPED, Call
from tests.differential.generator import Kind, kind_of, make_call
from tests.differential.planes import ENGINE, PAIRS
from tests.differential.run import Record, Seen, run
from tests.differential.traces import is_plain, trace_of
from tests.differential.world import LAYERS, World, make_world
from turnout_server.rpc.door import QUICK
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.decision import Reason

SEED = os.environ.get("TURNOUT_DIFF_SEED", "1")
REQUESTS = int(os.environ.get("TURNOUT_DIFF_REQUESTS", "2500"))
ENOUGH = 2000
"""Calls that bring about everything, whatever the seed."""
REASONS = (
    "CHANGES_DISABLED",
    "DEADLINE_EXPIRED",
    "FEATURE_INVALID",
    "FEATURE_MISSING",
    "FEATURE_UNKNOWN",
    "INPUT_INVALID",
    "INPUT_MISSING",
    "INPUT_REJECTED",
    "LABEL_NOT_FOUND",
    "MODEL_NOT_FOUND",
    "NOT_SUPPORTED",
    "OUTPUT_UNKNOWN",
    "REQUEST_INVALID",
    "REQUEST_TOO_LARGE",
    "ROUTE_NOT_FOUND",
    "SHARED_MEMORY_DISABLED",
    "TASK_MISMATCH",
    "TOO_MANY_VALUES",
    "VERSION_NOT_FOUND",
    "VERSION_UNAVAILABLE",
)
"""Of errors."""
SHOWN = 5
"""Differences that a failure shows in full."""


class Both(NamedTuple):
    """One pair's run."""

    names: tuple[str, str]
    world: World
    calls: list[Call]
    first: Seen
    second: Seen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The store and the table that all planes serve."""
    return make_world(tmp_path_factory.mktemp("differential"), SEED)


@pytest.fixture(scope="module")
def calls(world: World) -> list[Call]:
    """What is asked."""
    return [make_call(world, SEED, index) for index in range(REQUESTS)]


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def both(
    request: pytest.FixtureRequest, world: World, calls: list[Call], tmp_path_factory: pytest.TempPathFactory
) -> Both:
    """All of it, done on both planes of a pair."""
    pair = request.param
    for plane in pair:
        if not plane.is_there():
            pytest.skip(f"the data plane {plane} is not to be had here")
    return Both((str(pair[0]), str(pair[1])), world, calls, *run(pair, world, calls, tmp_path_factory.mktemp("planes")))


def fail(both: Both, what: str, count: int, examples: list[str]) -> None:
    """Fail, with the first of *examples*."""
    listed = "\n\n".join(examples[:SHOWN])
    pytest.fail(f"seed {SEED}, {both.names[0]} and {both.names[1]}: {what}: {count}\n\n{listed}", pytrace=False)


def test_answers_are_equal(both: Both) -> None:
    """Codes, messages, details, trailers, and every field of the answers."""
    problems = {}
    for place, call in enumerate(both.calls):
        first, second = both.first.answers[place], both.second.answers[place]
        kind = kind_of(call, both.world)
        if kind is Kind.HURRIED:
            if len({first.code, second.code} - {"DEADLINE_EXCEEDED"}) > 1:
                problems[place] = "end otherwise, time or no time"
        elif kind is Kind.DRAWN:
            route = pb.ModelInferRequest.FromString(call.messages[0]).model_name
            if problem := chance.problem(both.world, route, first, second):
                problems[place] = problem
        elif first != second:
            problems[place] = "differ"
    examples = [
        f"=== call {place}: {problem}\n{shown(both.calls[place])}\n"
        f"--- {both.names[0]}\n{both.first.answers[place].shown(both.calls[place].method)}\n"
        f"--- {both.names[1]}\n{both.second.answers[place].shown(both.calls[place].method)}"
        for place, problem in problems.items()
    ]
    if problems:
        kinds = Counter(f"{both.calls[place].method} ({both.calls[place].about})" for place in problems)
        table = "\n".join(f"{count:5} {kind}" for kind, count in kinds.most_common(20))
        fail(both, "answers that differ", len(problems), [table, *examples])


def test_calls_end_in_all_ways_that_are_for_callers_to_bring_about(both: Both) -> None:
    """What is never asked is never compared."""
    if REQUESTS < ENOUGH:
        pytest.skip(f"{REQUESTS} calls are too few for everything")
    details = "\n".join(detail for answer in both.first.answers.values() for detail in answer.details)
    missing = [reason for reason in REASONS if f'reason: "{reason}"' not in details]
    assert not missing
    decided = {(record["reason"], record["code"] == "OK") for record in both.first.records}
    assert decided >= {(reason.value, ok) for reason in Reason for ok in (True, False)}
    assert {record["copy_of"] is None for record in both.first.records} == {True, False}
    tried = [record for record in both.first.records if record["experiment"] is not None]
    assert {record["enrolled"] for record in tried} == {True, False, None}
    assert {record["layer"] for record in tried} >= {*LAYERS}


def test_counters_are_equal(both: Both) -> None:
    """Requests by who answered, why and how they ended, copies, calls by method and code, runs and their rows."""
    first, second = both.first.counts, both.second.counts
    differ = [f"{key}: {first[key]} and {second[key]}" for key in sorted(first | second) if first[key] != second[key]]
    assert any(key[0] == "turnout_requests_total" for key in first)
    if differ:
        fail(both, "counters that differ", len(differ), ["\n".join(differ[:50])])


def test_statistics_are_equal(both: Both) -> None:
    """What ModelStatistics says of every version, but for times."""
    pairs = list(zip(both.first.statistics, both.second.statistics, strict=True))
    differ = [pair for pair in pairs if pair[0] != pair[1]]
    if differ:
        examples = ["\n--- and\n".join(str(pb.ModelStatistics.FromString(one)) for one in pair) for pair in differ]
        fail(both, "versions whose statistics differ", len(differ), examples)


def test_the_engine_leaves_to_python_what_is_odd_or_refused_and_no_more(both: Both) -> None:
    """Else Python would be compared with itself."""
    if ENGINE.name not in both.names:
        pytest.skip("neither of them is the engine")
    asked = [
        (call, both.second.answers[place])
        for place, call in enumerate(both.calls)
        if call.method in (INFER, *TYPED) and kind_of(call, both.world) in (Kind.CERTAIN, Kind.MIRRORED)
    ]
    ordinary = [call for call, answer in asked if _is_ordinary(call, answer)]
    assert len(ordinary) > len(asked) / 4
    typed = [
        call
        for place, call in enumerate(both.calls)
        if call.method in QUICK - {INFER} and not (both.second.answers[place].code == "OK" and is_plain(call))
    ]
    messages = [
        (about, raw)
        for place, call in enumerate(both.calls)
        if call.method == STREAM
        for about, raw in zip(call.about.split(" | "), both.second.answers[place].responses, strict=False)
    ]
    odd = [about for about, raw in messages if about or pb.ModelStreamInferResponse.FromString(raw).error_message]
    assert len(odd) < len(messages) * 3 / 4
    lost = sum(
        len(call.messages) - len(both.second.answers[place].responses)
        for place, call in enumerate(both.calls)
        if call.method == STREAM
    )
    assert both.second.declined <= len(asked) - len(ordinary) + len(typed) + len(odd) + lost


def _is_ordinary(call: Call, answer: Answer) -> bool:
    """Say whether the engine is to answer a call for itself."""
    return answer.code == "OK" and not call.about and is_plain(call)


def test_records_are_equal(both: Both) -> None:
    """Every column of the journal but for times and numbers of the process."""
    chance_ids = _ids(both, Kind.DRAWN) | _ids(both, Kind.HURRIED)
    first, second = (_counted(seen.records, without=chance_ids) for seen in (both.first, both.second))
    assert first
    differ = [*((both.names[0], row) for row in first - second), *((both.names[1], row) for row in second - first)]
    if differ:
        differ.sort(key=lambda one: one[1])
        fail(
            both, "records that only one has", len(differ), ["\n\n".join(f"{name}: {row}" for name, row in differ[:20])]
        )


def test_spans_are_equal(both: Both) -> None:
    """Names, attributes, kinds, parents, links and status, of calls that can be told by their request id or trace."""
    kinds = [(call, kind_of(call, both.world)) for call in both.calls]
    chance_ids = _ids(both, Kind.DRAWN) | _ids(both, Kind.HURRIED)
    sent = {trace_of(call) for call, kind in kinds if kind in (Kind.CERTAIN, Kind.MIRRORED)}
    first, second = (
        Counter(
            trace.text
            for trace in seen.spans
            if not trace.request_ids & chance_ids and (trace.request_ids or trace.id in sent)
        )
        for seen in (both.first, both.second)
    )
    assert first
    assert any("turnout.run" in text for text in first)
    differ = [*((both.names[0], text) for text in first - second), *((both.names[1], text) for text in second - first)]
    if differ:
        differ.sort(key=lambda one: one[1])
        fail(
            both, "traces that only one has", len(differ), ["\n".join(f"{name}: {text}" for name, text in differ[:20])]
        )


def test_records_of_drawn_targets_are_as_likely_as_they_say(both: Both) -> None:
    drawn = _ids(both, Kind.DRAWN) - _ids(both, Kind.HURRIED)
    for name, seen in zip(both.names, (both.first, both.second), strict=True):
        found = [record for record in seen.records if record["request_id"] in drawn]
        problems = [f"{problem}: {one}" for one in found if (problem := chance.record_problem(both.world, one))]
        if problems:
            fail(both, f"records of {name} that cannot be", len(problems), problems)
    first, second = (
        Counter(one["request_id"] for one in seen.records if one["request_id"] in drawn and one["copy_of"] is None)
        for seen in (both.first, both.second)
    )
    assert first == second


def test_no_call_brings_up_what_nobody_foresaw(both: Both) -> None:
    """Two planes that fail alike are equal, too."""
    for name, seen in zip(both.names, (both.first, both.second), strict=True):
        places = [place for place, answer in seen.answers.items() if answer.code in ("INTERNAL", "UNKNOWN")]
        if places:
            examples = [f"{shown(both.calls[place])}\n{seen.answers[place]}" for place in places]
            fail(both, f"calls at which {name} fails", len(places), examples)


def _counted(records: list[Record], *, without: set[str]) -> Counter[str]:
    """Return records as text, in which a NaN is itself."""
    return Counter(
        repr({key: value for key, value in record.items() if value is not None})
        for record in records
        if record["request_id"] not in without
    )


def _ids(both: Both, kind: Kind) -> set[str]:
    """Return what ModelInfer's calls of that kind are called in the journal."""
    return {_request_of(call).id or call.request_id for call in both.calls if kind_of(call, both.world) is kind}


def _request_of(call: Call) -> pb.ModelInferRequest:
    try:
        return pb.ModelInferRequest.FromString(call.messages[0])
    except DecodeError:
        return pb.ModelInferRequest()
