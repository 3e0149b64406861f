"""What goes over the wire for an error."""

from __future__ import annotations

import base64
from urllib.parse import quote

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.transport.status import CODES, DOMAIN, INTERNAL, Status, status_of
from turnout_server.vocabulary.errors import Kind, QueueFullError, RouteNotFoundError, TurnoutError

HEADERS_BYTES = 8192


def rich(status: Status) -> status_pb2.Status:
    return status_pb2.Status.FromString(dict(status.trailers)["grpc-status-details-bin"])  # type: ignore[arg-type]


def unpacked(details: any_pb2.Any, kind: type) -> object:
    message = kind()
    assert details.Unpack(message)
    return message


def test_every_kind_of_error_has_a_code_of_its_own_or_shares_it_knowingly() -> None:
    assert set(CODES) == set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_an_error_carries_its_reason_and_its_facts(kind: Kind) -> None:
    class SomeError(TurnoutError):
        reason = "SOME_REASON"

    SomeError.kind = kind
    status = status_of(SomeError("what happened", model="price"))
    assert (status.code, status.message) == (CODES[kind], "what happened")
    assert (rich(status).code, rich(status).message) == (CODES[kind].value[0], "what happened")
    info = unpacked(rich(status).details[0], error_details_pb2.ErrorInfo)
    assert info == error_details_pb2.ErrorInfo(reason="SOME_REASON", domain=DOMAIN, metadata={"model": "price"})


def test_a_full_queue_says_when_to_come_back() -> None:
    status = status_of(QueueFullError("price", 3, 0.2501))
    assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(status.trailers)["grpc-retry-pushback-ms"] == "251"
    retry = unpacked(rich(status).details[1], error_details_pb2.RetryInfo)
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 250


def test_equal_refusals_are_made_once_and_others_apart() -> None:
    one = status_of(QueueFullError("price", 3, 0.25))
    assert status_of(QueueFullError("price", 3, 0.25)) is one
    assert status_of(QueueFullError("price", 4, 0.25)) != one
    assert status_of(QueueFullError("price", 3, 0.5)) != one


def test_what_callers_say_is_not_kept() -> None:
    assert status_of(RouteNotFoundError("who")) is not status_of(RouteNotFoundError("who"))


def test_nothing_of_an_error_that_was_not_raised_on_purpose_goes_out() -> None:
    assert status_of(ZeroDivisionError("secret")) is INTERNAL
    assert "secret" not in INTERNAL.message


@given(st.text(min_size=1).map(lambda text: text * (5000 // len(text))) | st.text())
def test_whatever_a_caller_sent_its_status_fits_into_the_headers(name: str) -> None:
    status = status_of(RouteNotFoundError(name))
    details = base64.b64encode(dict(status.trailers)["grpc-status-details-bin"])  # type: ignore[arg-type]
    assert len(quote(status.message, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}")) + len(details) < HEADERS_BYTES - 1024


def test_long_text_is_cut_between_characters() -> None:
    message = status_of(RouteNotFoundError("\N{GRINNING FACE}" * 2000)).message
    assert message.endswith("\N{GRINNING FACE}...")
    assert len(message.encode()) <= 1024
