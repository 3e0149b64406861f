"""What the tests of the transports call."""

from __future__ import annotations

import pytest

from tests.transport.fakes import Behaviour, count, echo, echo_each, forever


@pytest.fixture
async def behaviour() -> Behaviour:
    """A method of each kind, and one that never answers."""
    behaviour = Behaviour()
    behaviour.unary("Echo", echo)
    behaviour.unary("EchoInTask", echo, quick=False)
    behaviour.unary("Forever", forever)
    behaviour.server_stream("Count", count)
    behaviour.both_stream("EchoEach", echo_each)
    return behaviour
