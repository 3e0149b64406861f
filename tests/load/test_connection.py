"""One request, awaited."""

from __future__ import annotations

import asyncio

import pytest

from turnout_server.load.connection import CallError, Done, ask


class FakeConnection:
    """Answers every call in the next turn, twice, as one whose answer comes after its end may."""

    def __init__(self, code: str, payload: bytes | None) -> None:
        self.ended = code, payload

    async def open(self) -> None:
        return

    def call(self, body: bytes, done: Done) -> None:
        for _ in range(2):
            asyncio.get_running_loop().call_soon(done, *self.ended, 0.0, 1.0)

    async def close(self) -> None:
        return


@pytest.mark.parametrize("payload", [b"answer", None])
async def test_an_answer_is_returned(payload: bytes | None) -> None:
    assert await ask(FakeConnection("OK", payload), b"") == (payload or b"")
    await asyncio.sleep(0)


async def test_another_code_is_an_error_with_its_message() -> None:
    with pytest.raises(CallError, match="no such") as caught:
        await ask(FakeConnection("NOT_FOUND", b"no such"), b"")
    assert caught.value.code == "NOT_FOUND"
    assert str(CallError("UNAVAILABLE", "")) == "UNAVAILABLE"
