"""What a process holds is seen, and growth is told."""

from __future__ import annotations

import os
import socket
from collections import Counter

from tests.soak.holdings import Holdings, grown, holdings

BEFORE = Holdings(100.0, 10, Counter({"socket:": 3, "pipe:": 2}))


def test_what_is_within_bounds_is_no_problem() -> None:
    assert grown(BEFORE, BEFORE, 0.0, 0) == []
    assert grown(BEFORE, Holdings(131.0, 14, Counter({"socket:": 2, "pipe:": 2})), 32.0, 4) == []


def test_growth_is_told() -> None:
    assert "memory" in grown(BEFORE, BEFORE._replace(rss_mib=133.0), 32.0, 4)[0]
    assert "threads" in grown(BEFORE, BEFORE._replace(threads=15), 32.0, 4)[0]
    (files,) = grown(BEFORE, BEFORE._replace(files=Counter({"socket:": 4, "pipe:": 2})), 32.0, 4)
    assert "{'socket:': 1}" in files


def test_a_socket_more_is_seen() -> None:
    before = holdings(os.getpid())
    with socket.socket():
        assert holdings(os.getpid()).files - before.files == Counter({"socket:": 1})
