"""What the engine tells becomes what the rest of the gateway reads."""

from __future__ import annotations

from typing import Any

from turnout_server.engine.records import NativeRequests, NativeRuns, Problem, Told, ended
from turnout_server.instruments.families import Counted
from turnout_server.instruments.statistics import Alike, RunsAlike
from turnout_server.vocabulary.decision import Decision, Reason

DECIDED = ("cost", "b", "price", 2, "FALLBACK", "a", -1, 0.5, "d1", "e1", ("trial", "checkout", True))
DECISION = Decision("cost", "b", "price", 2, Reason.FALLBACK, "a", -1, 0.5, "d1", "e1", True, "trial", "checkout", True)
METHOD = "turnout.v1.RankingService/Rank"


def test_the_others_name_decisions_by_their_place() -> None:
    requests = [
        (1, "OK", (METHOD, "MODEL_INVALID"), ([0, 2], 9), ([2, 0], 3), 7, 1_000, (1, 2, 3, 4)),
        (0, "QUEUE_FULL", (METHOD, "QUEUE_FULL"), ([1], 1), ([0], 0), 0, 9, (0,) * 4),
    ]
    named = ("", "", "m", 1, "NAMED", "", -1, None, "", "", ("", "", None))
    told: Told = ([named, DECIDED], requests, [], [], None)
    answered, refused = ended(told).requests
    alike = Alike(DECISION, "OK", Counted([0, 2], 9), Counted([2, 0], 3), 7, 1_000, 1, 2, 3, 4)
    assert answered == NativeRequests(METHOD, "MODEL_INVALID", alike)
    by = refused.requests.decision
    assert (by.model, by.reason, refused.requests.code, refused.told) == ("m", Reason.NAMED, *["QUEUE_FULL"] * 2)


def test_runs_say_whose_they_are() -> None:
    told: Told = ([], [], [(7, 2, 60, False, ([1, 1], 30), 10, 3, 4)], [], None)
    assert ended(told).runs == [NativeRuns(7, RunsAlike(2, 60, False, Counted([1, 1], 30), 10, 3, 4))]


def test_what_models_said_and_the_records_come_as_they_are() -> None:
    page: Any = object()
    problems = [
        (METHOD, "MODEL_FAILED", "node x", "price", 3, ("aa", "bb")),
        (METHOD, "MODEL_FAILED", "", "price", 3, None),
    ]
    found = ended(([], [], [], problems, page))
    assert found.problems == [Problem(*problem) for problem in problems]
    assert found.problems[0].context == ("aa", "bb")
    assert found.page is page
