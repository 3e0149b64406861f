"""What is said of a request's end."""

from __future__ import annotations

from turnout_server.vocabulary.errors import QueueFullError
from turnout_server.vocabulary.record import code_of


def test_an_error_of_ours_has_its_reason_and_any_other_is_internal() -> None:
    assert code_of(QueueFullError("price", 1, 0.1)) == "QUEUE_FULL"
    assert code_of(ValueError("a stranger's")) == "INTERNAL"
