"""One record a request's end, numbered, and shown to everybody."""

from __future__ import annotations

from tests.gateway.world import query
from tests.records import DECISION
from turnout_server.gateway.records import TRACEPARENT_LIMIT, Records
from turnout_server.vocabulary.record import Comparison, Record

HEADERS = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


def test_requests_with_a_decision_are_numbered_without_a_gap_and_others_are_not() -> None:
    seen: list[Record] = []
    records = Records([seen.append], "b007")
    for decision in (DECISION, None, DECISION):
        records.ended(query(unit="u"), decision, "OK", 0, route="price")
    records.copy_ended(seen[0], DECISION._replace(target=""), "OK", 5, 9, comparison=Comparison(tau=1.0))
    assert [record.seq for record in seen] == [0, -1, 1, 2]
    assert [record.copy_of for record in seen] == [-1, -1, -1, 0]
    assert seen[3].took_ns == 4
    assert seen[3].comparison == Comparison(tau=1.0)


def test_a_request_is_called_what_its_caller_calls_it_or_else_by_boot_and_number() -> None:
    records = Records(boot="b007")
    assert records.ended(query(request_id="mine"), DECISION, "OK", 0).request_id == "mine"
    assert records.ended(query(), DECISION, "OK", 0).request_id == "b007-1"
    assert records.ended(query(), None, "ROUTE_NOT_FOUND", 0).request_id == ""


def test_a_record_has_what_the_request_brought_and_when_it_came() -> None:
    record = Records().ended(query(unit="u", headers=HEADERS, principal="anna"), DECISION, "OK", 0, rows=3)
    assert (record.unit, record.rows, record.principal) == ("u", 3, "anna")
    assert record.traceparent == HEADERS["traceparent"]
    assert record.decision == DECISION
    assert record.took_ns > 0


def test_of_a_huge_traceparent_little_is_kept() -> None:
    record = Records().ended(query(headers={"traceparent": "0" * 8192}), DECISION, "OK", 0)
    assert len(record.traceparent) == TRACEPARENT_LIMIT


def test_a_reader_that_fails_keeps_nobody_else_from_reading() -> None:
    seen: list[Record] = []

    def broken(record: Record) -> None:
        raise ZeroDivisionError

    Records([broken, seen.append]).ended(query(), DECISION, "OK", 0)
    assert len(seen) == 1
