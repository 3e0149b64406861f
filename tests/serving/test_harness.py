"""One version's states, leases and tries."""

from __future__ import annotations

import pytest

from turnout_server.serving.harness import LONGEST_RETRY_S, Harness, retry_delay
from turnout_server.serving.state import State
from turnout_server.vocabulary.errors import VersionUnavailableError
from turnout_server.vocabulary.versions import VersionKey


@pytest.fixture
def harness() -> Harness[str]:
    made: Harness[str] = Harness(VersionKey("price", 3))
    made.loading()
    made.loaded("servable")
    return made


def test_tries_come_ever_more_seldom() -> None:
    assert [retry_delay(attempts) for attempts in (1, 2, 3, 20, 10**6)] == [1.0, 2.0, 4.0, *[LONGEST_RETRY_S] * 2]


def test_a_failure_says_why_and_when_to_try_again(harness: Harness[str]) -> None:
    failing: Harness[str] = Harness(VersionKey("price", 3))
    failing.failed("no room", 100.0)
    failing.failed("no room", 100.0)
    assert (failing.state, failing.attempts, failing.retry_at) == (State.FAILED, 2, 102.0)
    with pytest.raises(VersionUnavailableError, match="FAILED \\(no room\\)"):
        failing.lease()
    failing.loaded("at last")
    assert (failing.attempts, failing.detail, failing.peek()) == (0, "", "at last")


def test_why_it_failed_does_not_say_again_which_version_it_is() -> None:
    failing: Harness[str] = Harness(VersionKey("price", 3))
    failing.failed("price version 3: model.onnx: is gone", 100.0)
    assert (failing.detail, failing.problem) == ("model.onnx: is gone", "model.onnx: is gone")


def test_a_drain_ends_with_the_last_lease(harness: Harness[str]) -> None:
    first, second = harness.lease(), harness.lease()
    ended: list[str] = []
    harness.drain(lambda: ended.append("drained"))
    first.release()
    first.release()
    assert (ended, harness.leases, harness.peek()) == ([], 1, None)
    with pytest.raises(VersionUnavailableError, match="UNLOADING"):
        harness.lease()
    second.release()
    assert ended == ["drained"]
    assert (harness.take(), harness.take()) == ("servable", None)


def test_a_drain_without_leases_ends_at_once(harness: Harness[str]) -> None:
    ended: list[str] = []
    harness.drain(lambda: ended.append("drained"))
    assert ended == ["drained"]
