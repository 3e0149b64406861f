"""Sockets that listen. How they serve is in the tests of the transports."""

from __future__ import annotations

import pytest

from turnout_server.transport import listeners as module


@pytest.mark.parametrize(
    ("files", "connections"),
    [(1024, 768), (300, 150), (65_536, 10_000), (module.resource.RLIM_INFINITY, 10_000)],
)
def test_connections_leave_files_to_the_rest_of_the_server(
    monkeypatch: pytest.MonkeyPatch, files: int, connections: int
) -> None:
    monkeypatch.setattr(module.resource, "getrlimit", lambda which: (files, files))
    assert module.most_connections() == connections
