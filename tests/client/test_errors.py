"""Whatever goes wrong becomes one of ours, with the server's reason where it gave one."""

from __future__ import annotations

import pickle
import socket
from typing import Any

import grpc
import pytest

import turnout
from tests.client.conftest import Connect
from tests.client.fake import Failure, FakeGateway, status_details
from tests.tables import check_all
from turnout import errors

KINDS = [
    ("INVALID_ARGUMENT", turnout.InvalidRequestError),
    ("OUT_OF_RANGE", turnout.InvalidRequestError),
    ("NOT_FOUND", turnout.NotFoundError),
    ("ABORTED", turnout.ConflictError),
    ("ALREADY_EXISTS", turnout.ConflictError),
    ("FAILED_PRECONDITION", turnout.ConflictError),
    ("PERMISSION_DENIED", turnout.ForbiddenError),
    ("UNAUTHENTICATED", turnout.ForbiddenError),
    ("UNIMPLEMENTED", turnout.UnsupportedError),
    ("UNAVAILABLE", turnout.UnavailableError),
    ("RESOURCE_EXHAUSTED", turnout.OverloadedError),
    ("DEADLINE_EXCEEDED", turnout.DeadlineError),
    ("INTERNAL", turnout.ServerError),
    ("UNKNOWN", turnout.ServerError),
    ("DATA_LOSS", turnout.ServerError),
    ("CANCELLED", turnout.TurnoutError),
]


def test_every_status_has_its_error(gateway: FakeGateway, connect: Connect) -> None:
    """Told by the server, an error has the server's words, reason, facts and delay."""
    client = connect(retries=0)
    trailing = status_details("QUEUE_FULL", 1.25, {"model": "price"})

    def check(code: str, kind: type[Exception]) -> None:
        gateway.failures.clear()
        gateway.failures.append(Failure(grpc.StatusCode[code], "the queue is full", trailing))
        with pytest.raises(turnout.TurnoutError) as caught:
            client.model("price")
        error = caught.value
        assert type(error) is kind
        assert str(error) == "the queue is full"
        assert (error.code, error.reason, error.details, error.retry_after) == (
            code,
            "QUEUE_FULL",
            {"model": "price"},
            1.25,
        )
        assert isinstance(error.__cause__, grpc.RpcError)

    check_all(KINDS, check)


def test_every_status_code_but_cancelled_has_a_class() -> None:
    assert {code.name for code in grpc.StatusCode} - set(errors._CLASSES) == {"OK", "CANCELLED"}


def test_without_a_reason_the_codes_name_stands_in(gateway: FakeGateway, client: Any) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.NOT_FOUND, "nothing here"))
    with pytest.raises(turnout.NotFoundError, match="nothing here") as caught:
        client.model("price")
    assert caught.value.reason == "NOT_FOUND"
    assert caught.value.details == {}
    assert caught.value.retry_after is None


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x1a\x05\x0a\x7fabc", b""])
def test_details_that_cannot_be_read_do_not_hide_the_error(gateway: FakeGateway, client: Any, garbage: bytes) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.NOT_FOUND, "nothing here", {"grpc-status-details-bin": garbage}))
    with pytest.raises(turnout.NotFoundError, match="nothing here"):
        client.model("price")


def test_a_server_that_is_not_there_is_named(connect: Connect) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(turnout.UnavailableError) as caught:
            connect(target, retries=0).models()
    assert str(caught.value) == f"cannot reach {target}: connection refused; is `turnout serve` running?"


def test_a_name_that_does_not_resolve_is_named(connect: Connect) -> None:
    with pytest.raises(turnout.UnavailableError, match=r"cannot reach nowhere\.invalid:1: the name does not resolve"):
        connect("nowhere.invalid:1", retries=0).models()


def test_a_missing_service_is_explained(connect: Connect, gateway: FakeGateway) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.UNIMPLEMENTED, ""))
    with pytest.raises(turnout.UnsupportedError, match=r"does not have /turnout\.v1\.ModelService/GetModel; is it a"):
        connect().model("price")


def test_a_request_over_the_clients_limit_is_not_sent(gateway: FakeGateway, connect: Connect) -> None:
    with pytest.raises(turnout.InvalidRequestError, match="`max_message_bytes`") as caught:
        connect(max_message_bytes=1000).recommend("next", ["item"] * 1000)
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    assert gateway.seen == []


def test_a_request_over_the_servers_limit_is_an_invalid_one(connect: Connect) -> None:
    with pytest.raises(turnout.InvalidRequestError) as caught:
        connect().recommend("next", ["item" * 100] * 5000)
    assert caught.value.reason == "MESSAGE_TOO_LARGE"


def test_a_response_over_the_clients_limit_is_asked_for_once(gateway: FakeGateway, connect: Connect) -> None:
    with pytest.raises(turnout.InvalidRequestError) as caught:
        connect(max_message_bytes=500).recommend("next", [], k=50)
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    assert gateway.methods == ["Recommend"]


def test_errors_survive_pickling() -> None:
    error = turnout.OverloadedError("full", code="RESOURCE_EXHAUSTED", reason="QUEUE_FULL", retry_after=1.5)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))
