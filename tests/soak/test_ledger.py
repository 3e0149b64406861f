"""Calls may end as they should and in no other way."""

from __future__ import annotations

import pytest

from tests.soak.asks import INFER, Ask
from tests.soak.judge import Verdict
from tests.soak.ledger import CODE_OF_REASON, CUT_OFF, Ledger


def ask(*codes: str) -> Ask:
    return Ask("a request", INFER, b"", "table", frozenset(codes))


def test_the_right_answer_is_no_problem() -> None:
    ledger = Ledger()
    ledger.answered(ask("OK"), lambda: Verdict([]))
    assert ledger.problems == []


def test_a_wrong_answer_is() -> None:
    ledger = Ledger()
    ledger.answered(ask("OK"), lambda: Verdict(["y is wrong"]))
    (problem,) = ledger.problems
    assert problem.endswith("a request: y is wrong")


def test_so_is_an_answer_to_what_should_have_been_refused() -> None:
    ledger = Ledger()
    ledger.answered(ask("INVALID_ARGUMENT"), lambda: Verdict([]))
    assert "was answered" in ledger.problems[0]


@pytest.mark.parametrize(
    ("codes", "code", "reason", "retry_after_s", "right"),
    [
        (["NOT_FOUND"], "NOT_FOUND", "MODEL_NOT_FOUND", None, True),
        (["OK"], "NOT_FOUND", "MODEL_NOT_FOUND", None, False),
        (["NOT_FOUND"], "NOT_FOUND", "", None, False),
        (["OK"], "INTERNAL", "INTERNAL", None, False),
        (["OK"], "UNKNOWN", "", None, False),
        (["OK"], "UNAVAILABLE", "SHUTTING_DOWN", None, False),
        (["OK", "DEADLINE_EXCEEDED"], "DEADLINE_EXCEEDED", "", None, True),
        (["OK"], "DEADLINE_EXCEEDED", "DEADLINE_EXPIRED", None, False),
        (["OK"], "RESOURCE_EXHAUSTED", "QUEUE_FULL", 0.1, True),
        (["OK"], "RESOURCE_EXHAUSTED", "QUEUE_FULL", None, False),
        (["OK"], "RESOURCE_EXHAUSTED", "QUEUE_FULL", 0.0, False),
        (["OK"], "UNAVAILABLE", "QUEUE_FULL", 0.1, False),
        (["OK"], "RESOURCE_EXHAUSTED", "", None, False),
    ],
)
def test_a_failure_is_a_problem_unless_it_is_expected_and_says_what_it_should(
    codes: list[str], code: str, reason: str, retry_after_s: float | None, right: bool
) -> None:
    ledger = Ledger()
    ledger.failed(ask(*codes), code, reason, "text", retry_after_s)
    assert (not ledger.problems) is right


@pytest.mark.parametrize(
    ("code", "text", "right"),
    [("UNAVAILABLE", "", True), ("CANCELLED", "", True), ("INTERNAL", CUT_OFF, True), ("INTERNAL", "", False)],
)
def test_a_server_that_goes_may_say_so(code: str, text: str, right: bool) -> None:
    ledger = Ledger()
    ledger.failed(ask("OK"), code, "", text, None)
    ledger.closing = True
    assert len(ledger.problems) == 1
    ledger.failed(ask("OK"), code, "", text, None)
    assert (len(ledger.problems) == 1) is right


def test_every_reason_has_its_code() -> None:
    assert CODE_OF_REASON["QUEUE_FULL"] == "RESOURCE_EXHAUSTED"
    assert CODE_OF_REASON["OUTPUT_UNKNOWN"] == "INVALID_ARGUMENT"
