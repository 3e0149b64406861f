"""Every error ends a command with a documented code."""

from __future__ import annotations

import pytest

import turnout
from turnout_server.cli import exits
from turnout_server.vocabulary.errors import (
    ChangesDisabledError,
    ConfigurationError,
    InvalidRequestError,
    QueueFullError,
    RouteNotFoundError,
    StaleWriteError,
    TurnoutError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), exits.CONFIGURATION),
        (InvalidRequestError("x"), exits.INVALID),
        (RouteNotFoundError("x"), exits.NOT_FOUND),
        (ChangesDisabledError(), exits.FORBIDDEN),
        (QueueFullError.__new__(QueueFullError), exits.UNAVAILABLE),
        (StaleWriteError.__new__(StaleWriteError), exits.CONFLICT),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_the_server_has_its_code(error: TurnoutError, code: int) -> None:
    assert exits.code_of(error) == code


def test_the_clients_errors_are_named_as_the_client_names_them() -> None:
    assert all(issubclass(getattr(turnout, name), turnout.TurnoutError) for name in exits.BY_CLIENT_ERROR)
