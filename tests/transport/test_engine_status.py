"""The engine's statuses are Python's, to the byte: both are held to `engine/tests/statuses.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from turnout_server.transport.status import status_of
from turnout_server.vocabulary.errors import Kind, TurnoutError

GOLDEN = Path(__file__).parents[2] / "engine/tests/statuses.json"


def error(kind: Kind, text: str, delay: float | None = None, **details: str) -> TurnoutError:
    class MadeError(TurnoutError):
        reason = f"MADE_{kind.name}"

        @property
        def retry_after_s(self) -> float | None:
            return delay

    MadeError.kind = kind
    return MadeError(text, **details)


# One detail at most: protobuf writes a map in any order.
ERRORS = [
    *(error(kind, f"of kind {kind.name}") for kind in Kind),
    error(Kind.NOT_FOUND, "no model", model="mlp"),
    error(Kind.INVALID, "wörd\n100%", input="😀"),
    error(Kind.UNAVAILABLE, "", 2.0, empty=""),
    *(error(Kind.OVERLOADED, "full", delay) for delay in (0.0, 0.001, 0.07, 0.5, 1e-9, 12.3456789)),
    error(Kind.FORBIDDEN, "x" * 1024, key="v" * 256),
    error(Kind.FORBIDDEN, "x" * 1025, key="v" * 257),
    *(error(Kind.CONFLICT, "y" * odd + "é" * 600, key="y" * odd + "漢" * 100) for odd in range(3)),
]


def as_json(error: TurnoutError) -> Any:
    status = status_of(error)
    return {
        "kind": error.kind.name,
        "reason": error.reason,
        "message": error.message,
        "details": dict(error.details),
        "retry_after_s": error.retry_after_s,
        "code": status.code.value[0],
        "text": status.message,
        "trailers": [[name, value if isinstance(value, str) else value.hex()] for name, value in status.trailers],
    }


def test_the_statuses_that_the_engine_is_held_to_are_ours() -> None:
    assert json.loads(GOLDEN.read_text()) == [as_json(one) for one in ERRORS]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps([as_json(one) for one in ERRORS], indent=1) + "\n")
