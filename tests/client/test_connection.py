"""A connection sends calls as its settings say, and says where one has failed."""

from __future__ import annotations

import pytest

import turnout
from tests.client.fake import FakeGateway
from turnout import calls
from turnout.connection import Connection
from turnout.settings import Settings


def settings(target: str) -> Settings:
    return Settings(target=target, metadata=(("x-team", "pricing"),), retries=0)


def test_a_call_has_the_settings_metadata_and_its_own(gateway: FakeGateway) -> None:
    with Connection(settings(gateway.target)) as connection:
        assert connection.send(calls.model("diamonds"), None, {"x-qa": "on"}).name == "diamonds"
    assert {("x-team", "pricing"), ("x-qa", "on")} <= set(gateway.seen[-1].metadata.items())


def test_a_gateway_that_is_not_there_is_named() -> None:
    with (
        Connection(settings("127.0.0.1:1")) as connection,
        pytest.raises(turnout.UnavailableError, match=r"cannot reach 127\.0\.0\.1:1"),
    ):
        connection.send(calls.health(""), 1.0, None)


def test_a_connection_that_was_left_sends_nothing_more(gateway: FakeGateway) -> None:
    with Connection(settings(gateway.target)) as connection:
        pass
    with pytest.raises(ValueError, match="closed"):
        connection.send(calls.health(""), 1.0, None)
