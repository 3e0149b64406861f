"""Counts that add up pass, and one that is off by one does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.soak import accounts
from tests.soak.accounts import Books
from tests.soak.asks import INFER, Ask
from tests.soak.judge import Served, Verdict
from tests.soak.ledger import Ledger
from tests.soak.shelf import MIRRORED
from turnout_server.instruments.instruments import RETIRED_KEPT
from turnout_server.rpc.stubs import open_inference_pb2 as oip

TABLE = Served("", "", "table", 2, "PINNED")
WORDS = Served(MIRRORED, "champion", "words", 1, "SPLIT")
ASK = Ask("plain", INFER, b"", "table", frozenset({"OK"}), rows=3)


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


def requests(served: Served, code: str = "OK") -> tuple[tuple[str, str], ...]:
    return labels(**{**served._asdict(), "version": str(served.version)}, code=code)


REFUSED = requests(TABLE, "QUEUE_FULL")
CALLS_OK, CALLS_FULL = labels(method=INFER, code="OK"), labels(method=INFER, code="RESOURCE_EXHAUSTED")
COPIES = labels(route=MIRRORED, model="words", version="challenger", outcome="sent")


@pytest.fixture
def ledger() -> Ledger:
    """Two answers of `table`, two of `words` by the route with the mirror, and one refusal."""
    ledger = Ledger()
    for served in (TABLE, TABLE, WORDS, WORDS):
        ledger.ended(INFER, "OK")
        ledger.answered(ASK, lambda served=served: Verdict([], served))
    ledger.ended(INFER, "RESOURCE_EXHAUSTED")
    ledger.failed(ASK, "RESOURCE_EXHAUSTED", "QUEUE_FULL", "", 0.1)
    assert ledger.problems == []
    return ledger


@pytest.fixture
def books() -> Books:
    """What a server counts that did just that."""
    samples = {
        "turnout_requests_total": {requests(TABLE): 2.0, requests(WORDS): 2.0, REFUSED: 1.0},
        "turnout_rpc_duration_seconds_count": {CALLS_OK: 4.0, CALLS_FULL: 1.0},
        "turnout_mirrors_total": {COPIES: 2.0},
        "turnout_requests_in_flight": {(): 0.0},
        "turnout_queue_rows": {labels(model="table", version="2"): 0.0},
    }
    statistics = oip.ModelStatistics(name="table", version="2", inference_count=6, execution_count=2)
    statistics.inference_stats.success.count = 2
    statistics.inference_stats.fail.count = 1
    statistics.batch_stats.add(batch_size=3).compute_infer.count = 2
    return Books(samples, [statistics], [])


def test_what_adds_up_passes(books: Books, ledger: Ledger) -> None:
    assert accounts.check(books, ledger) == []


@pytest.mark.parametrize("difference", [1, -1])
@pytest.mark.parametrize(
    ("sample", "of"),
    [
        ("turnout_requests_total", requests(TABLE)),
        ("turnout_requests_total", requests(WORDS)),
        ("turnout_requests_total", REFUSED),
        ("turnout_rpc_duration_seconds_count", CALLS_OK),
        ("turnout_rpc_duration_seconds_count", CALLS_FULL),
        ("turnout_mirrors_total", COPIES),
        ("turnout_requests_in_flight", ()),
        ("turnout_queue_rows", labels(model="table", version="2")),
    ],
)
def test_one_more_or_less_does_not(
    sample: str, of: tuple[tuple[str, str], ...], difference: int, books: Books, ledger: Ledger
) -> None:
    counts = books.samples[sample]
    assert isinstance(counts, dict)
    counts[of] += difference
    assert accounts.check(books, ledger)


def a_success_less(one: oip.ModelStatistics) -> None:
    one.inference_stats.success.count -= 1


def a_failure_more(one: oip.ModelStatistics) -> None:
    one.inference_stats.fail.count += 1


def a_row_less(one: oip.ModelStatistics) -> None:
    one.inference_count -= 1


def a_run_more(one: oip.ModelStatistics) -> None:
    one.execution_count += 1


@pytest.mark.parametrize("harm", [a_success_less, a_failure_more, a_row_less, a_run_more])
def test_nor_do_statistics_that_are_off(
    harm: Callable[[oip.ModelStatistics], None], books: Books, ledger: Ledger
) -> None:
    harm(books.statistics[0])
    assert len(accounts.check(books, ledger)) == 1


def test_statistics_that_began_anew_are_not_compared(books: Books, ledger: Ledger) -> None:
    a_success_less(books.statistics[0])
    assert accounts.check(books._replace(unloaded=[("table", 2)]), ledger) == []


def test_an_answer_that_nobody_waited_for_may_have_been_counted(books: Books, ledger: Ledger) -> None:
    ledger.unseen_end(ASK, "CANCELLED")
    ledger.unseen_call(INFER)
    assert accounts.check(books, ledger) == []
    for sample, of in (("turnout_requests_total", requests(TABLE)), ("turnout_rpc_duration_seconds_count", CALLS_OK)):
        books.samples[sample][of] += 1  # type: ignore[index]
    books.statistics[0].inference_stats.success.count += 1
    assert accounts.check(books, ledger) == []
    books.samples["turnout_requests_total"][requests(TABLE)] += 1  # type: ignore[index]
    assert accounts.check(books, ledger)


def test_series_that_were_dropped_are_not_compared(books: Books, ledger: Ledger) -> None:
    counts = books.samples["turnout_requests_total"]
    assert isinstance(counts, dict)
    del counts[requests(WORDS)]
    assert accounts.check(books, ledger)
    unloaded = [("words", 1)] * (RETIRED_KEPT + 1)
    assert accounts.check(books._replace(unloaded=unloaded), ledger) == []


def test_no_call_may_have_ended_with_an_internal_error(books: Books, ledger: Ledger) -> None:
    ledger.ended(INFER, "INTERNAL")
    books.samples["turnout_rpc_duration_seconds_count"][labels(method=INFER, code="INTERNAL")] = 1.0  # type: ignore[index]
    assert len(accounts.check(books, ledger)) == 1
