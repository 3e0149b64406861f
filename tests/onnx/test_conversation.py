"""What one end says, the other one hears, however its bytes come; what is no message is not taken for one."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.onnx.graphs import manifest
from tests.together import check_first_use
from turnout_server.onnx import conversation
from turnout_server.onnx.conversation import (
    REQUESTS,
    WORDS,
    Began,
    Line,
    OutOfMemory,
    Passed,
    Puzzled,
    Refused,
    Request,
    Step,
    Word,
)

words = st.one_of(
    st.builds(Began, st.sampled_from(Step)),
    st.builds(Passed, st.dictionaries(st.integers(1, 1 << 32), st.integers(0, 1 << 60)), st.booleans()),
    st.builds(Refused, st.text()),
    st.builds(OutOfMemory),
    st.builds(Puzzled, st.text(), st.text()),
)


class End:
    """A socket's end on which bytes come piece by piece; after the last one, the other end has gone."""

    def __init__(self, *pieces: bytes, on_read: Callable[[], None] = lambda: None) -> None:
        self.pieces = list(pieces)
        self.sent = b""
        self.waits: list[float | None] = []
        self._on_read = on_read

    def settimeout(self, left: float | None) -> None:
        self.waits.append(left)

    def sendall(self, content: bytes) -> None:
        self.sent += content

    def recv(self, count: int) -> bytes:
        self._on_read()
        if not self.pieces:
            return b""
        first = self.pieces.pop(0)
        if first[count:]:
            self.pieces.insert(0, first[count:])
        return first[:count]


def line(end: End) -> Line[Word]:
    return Line(cast("socket.socket", end), WORDS)


def said(*messages: object) -> bytes:
    end = End()
    for message in messages:
        line(end).say(message)
    return end.sent


def framed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content


def cut(content: bytes, places: list[int]) -> Iterator[bytes]:
    """Yield *content* in pieces, cut at these places."""
    edges = sorted({0, len(content), *(place % len(content) for place in places)})
    for begin, end in pairwise(edges):
        yield content[begin:end]


@given(st.lists(words, min_size=1, max_size=5), st.lists(st.integers(0, 1 << 16)))
def test_words_are_heard_in_order_wherever_their_bytes_are_cut(words: list[Word], places: list[int]) -> None:
    hearing = line(End(*cut(said(*words), places)))
    assert [hearing.hear() for _ in words] == words
    with pytest.raises(EOFError):
        hearing.hear()


@given(words, st.integers(0, 1 << 16))
def test_who_goes_in_the_middle_of_a_word_has_gone(word: Word, place: int) -> None:
    content = said(word)
    with pytest.raises(EOFError):
        line(End(content[: place % len(content)])).hear()


def test_a_request_keeps_its_manifest() -> None:
    request = Request("/store/price/3", manifest())
    ours, its = socket.socketpair()
    with (
        contextlib.closing(Line(ours, REQUESTS)) as asks,
        contextlib.closing(Line(its, REQUESTS)) as hears,
    ):
        asks.say(request)
        assert hears.hear() == request


@given(st.binary(max_size=64))
def test_garbage_is_no_word_and_the_next_word_is_heard(garbage: bytes) -> None:
    hearing = line(End(framed(garbage), said(OutOfMemory())))
    with pytest.raises(msgspec.DecodeError):
        hearing.hear()
    assert hearing.hear() == OutOfMemory()


@pytest.mark.parametrize(
    "word",
    [Began(cast("Step", "its end")), Passed({0: 1}, True), Passed({1: -1}, True), Refused(cast("str", None))],
    ids=["another step", "no rows", "less than no time", "no problem"],
)
def test_a_word_that_nobody_could_mean_is_none(word: Word) -> None:
    with pytest.raises(msgspec.ValidationError):
        line(End(said(word))).hear()


def test_what_is_nested_too_deeply_is_no_word() -> None:
    """A decoder that counts on Python's stack has another error for it, which nobody expects."""
    nested = b"\x91" * 100_000 + b"\xc0"
    content = b"\x82" + msgspec.msgpack.encode("type") + msgspec.msgpack.encode("OutOfMemory")
    with pytest.raises(ValueError, match="nested"):
        line(End(framed(content + msgspec.msgpack.encode("more") + nested))).hear()


def test_a_word_that_claims_to_be_longer_than_any_is_not_waited_for() -> None:
    end = End(b"\x01\x00\x00\x04", b"the rest")
    with pytest.raises(ValueError, match="a message of 67108865 bytes"):
        line(end).hear()
    assert end.pieces == [b"the rest"]


def test_without_a_moment_nobody_is_hurried() -> None:
    end = End(said(OutOfMemory()))
    line(end).hear()
    assert set(end.waits) == {None}


def test_a_moment_is_for_the_whole_word_however_slowly_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(conversation, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def second_passes() -> None:
        clock.now += 1.0

    content = said(Began(Step.CHECK))
    end = End(*(content[place : place + 1] for place in range(len(content))), on_read=second_passes)
    with pytest.raises(TimeoutError):
        line(end).hear(until=102.5)
    assert end.waits == [2.5, 1.5, 0.5]


def test_at_a_moment_that_has_passed_nothing_is_said_or_heard() -> None:
    end = End(said(OutOfMemory()))
    with pytest.raises(TimeoutError):
        line(end).hear(until=0.0)
    with pytest.raises(TimeoutError):
        line(end).say(OutOfMemory(), until=0.0)
    assert (end.sent, len(end.pieces)) == (b"", 1)


@pytest.fixture
def ends() -> Iterator[tuple[Line[Word], socket.socket, socket.socket]]:
    """A line that has a pulse, and the other ends of both."""
    with contextlib.ExitStack() as stack:
        (ours, its), (pulse, beating) = socket.socketpair(), socket.socketpair()
        for end in (ours, its, pulse, beating):
            stack.enter_context(end)
        yield Line(ours, WORDS, pulse), its, beating


def test_an_end_is_noticed_even_where_another_holds_the_line_open(
    ends: tuple[Line[Word], socket.socket, socket.socket],
) -> None:
    """And what was said before it is heard."""
    hearing, its, beating = ends
    its.sendall(said(Began(Step.CHECK)) + b"\1")
    beating.close()
    assert hearing.hear() == Began(Step.CHECK)
    with pytest.raises(EOFError):
        hearing.hear()


def test_who_waits_for_a_word_or_the_end_waits_no_longer_than_wanted(
    ends: tuple[Line[Word], socket.socket, socket.socket],
) -> None:
    hearing, _, _ = ends
    with pytest.raises(TimeoutError):
        hearing.hear(time.monotonic() + 0.01)


def test_many_threads_may_hear_the_first_words() -> None:
    setup = "import socket; from turnout_server.onnx.conversation import Line, Refused, WORDS"
    pair = "ours, its = socket.socketpair(); Line(its, WORDS).say(Refused('no')); Line(ours, WORDS).hear()"
    check_first_use(setup, pair)
