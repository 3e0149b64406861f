"""What is sent, and when: the peer's windows are kept to, and made use of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http2.wire import ANSWER, TRAILERS, Frame, Server, frames_in, headers, resets_in
from turnout_server.http2 import frames
from turnout_server.http2.codes import ErrorCode
from turnout_server.http2.frames import MAX_WINDOW, window_update
from turnout_server.http2.outbox import ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE

STREAMS = (1, 3, 5)
ACK = Frame(frames.SETTINGS, frames.ACK, 0, b"")


def setting(name: int, value: int) -> bytes:
    return frames.settings([(name, value)])


def server_with(window: int, streams: tuple[int, ...] = STREAMS) -> Server:
    """Return a server with requests that are complete, from a client with such a window on each stream."""
    server = Server()
    server.receive(setting(INITIAL_WINDOW_SIZE, window) + b"".join(headers(stream, end=True) for stream in streams))
    return server


def bodies(found: list[Frame]) -> list[tuple[int, bytes]]:
    return [(one.stream, one.payload) for one in found if one.kind == frames.DATA]


def test_what_fits_goes_out_at_once_and_in_one_frame() -> None:
    server = server_with(100)
    server.calls[1].answer(b"message", b"prefix-")
    assert server.sent() == [
        Frame(frames.HEADERS, frames.END_HEADERS, 1, ANSWER),
        Frame(frames.DATA, 0, 1, b"prefix-message"),
        Frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, TRAILERS),
    ]
    assert 1 not in server.connection.streams


def test_what_does_not_fit_waits_and_the_trailers_after_it() -> None:
    server = server_with(4)
    call = server.calls[1]
    call.answer(b"message", b"prefix-")
    assert bodies(server.sent()) == [(1, b"pref")]
    assert server.connection.unsent == 10
    assert bodies(server.sent(window_update(1, 5))) == [(1, b"ix-me")]
    assert call.drains == 0
    last = server.sent(window_update(1, 100))
    assert bodies(last) == [(1, b"ssage")]
    assert last[-1] == Frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, TRAILERS)
    assert (call.drains, server.connection.unsent) == (1, 0)
    assert 1 not in server.connection.streams


def test_what_exactly_fits_does_not_wait() -> None:
    server = server_with(14)
    server.calls[1].answer(b"message", b"prefix-")
    assert bodies(server.sent()) == [(1, b"prefix-message")]
    assert server.calls[1].unsent is None


def test_an_empty_message_needs_no_window() -> None:
    server = server_with(0)
    server.calls[1].answer(b"")
    assert server.sent()[-1].flags & frames.END_STREAM


def test_frames_are_no_larger_than_the_peer_takes() -> None:
    server = server_with(MAX_WINDOW)
    server.calls[1].answer(bytes(40_000))
    assert [len(payload) for _, payload in bodies(server.sent())] == [16_384, 16_384, 7_232]
    server.receive(setting(MAX_FRAME_SIZE, 2**24 - 1) + window_update(0, 2**24))
    server.calls[3].answer(bytes(40_000))
    assert [len(payload) for _, payload in bodies(server.sent())] == [40_000]


def test_a_long_header_block_is_cut_as_the_peer_takes_frames() -> None:
    server = server_with(100)
    server.connection.send_trailers(server.calls[1], bytes(40_000))
    assert [one.kind for one in server.sent()] == [frames.HEADERS, frames.CONTINUATION, frames.CONTINUATION]


def test_streams_that_wait_for_the_connection_take_turns() -> None:
    """However small the pieces in which its window grows, no stream has to wait for another's end."""
    server = server_with(MAX_WINDOW)
    for stream in STREAMS:
        server.calls[stream].answer(bytes(100_000))
    server.take()
    turns = [bodies(server.sent(window_update(0, 10)))[0][0] for _ in range(6)]
    assert turns[:3] == turns[3:]
    assert set(turns) == set(STREAMS)
    found = bodies(server.sent(window_update(0, 3 * frames.DEFAULT_FRAME_SIZE)))
    assert sorted(stream for stream, _ in found) == sorted(STREAMS)


def test_a_stream_without_a_window_of_its_own_loses_no_turn_to_others_and_takes_none() -> None:
    server = server_with(70_000)
    for stream in STREAMS:
        server.calls[stream].answer(bytes(100_000))
    assert {stream for stream, _ in bodies(server.sent())} == {1}
    server.receive(setting(INITIAL_WINDOW_SIZE, 0) + window_update(5, 70_000))
    assert bodies(server.sent(window_update(0, 20))) == [(5, bytes(20))]
    assert bodies(server.sent(window_update(3, 1) + window_update(1, 65_536))) == []
    found = bodies(server.sent(window_update(0, 20_000)))
    assert [(stream, len(payload)) for stream, payload in found] == [(5, 16_384), (3, 1), (1, 1), (5, 3_614)]


def test_whoever_hears_that_all_was_sent_may_send_more_at_once() -> None:
    """On any stream, be it one that waits for its turn."""
    server = server_with(MAX_WINDOW, (1, 3, 5))
    server.calls[5].answer(bytes(65_535))
    for stream in (1, 3):
        server.connection.send_data(server.calls[stream], b"", b"first")
    server.take()
    server.on_drained = lambda call: call.id == 1 and server.connection.send_data(server.calls[3], b"", b", then")
    assert bodies(server.sent(window_update(0, 1_000))) == [(1, b"first"), (3, b"first, then")]
    assert [server.calls[stream].drains for stream in (1, 3)] == [1, 1]


@pytest.mark.parametrize("reset_by_the_client", [True, False])
def test_nothing_more_is_sent_on_a_stream_that_is_lost(reset_by_the_client: bool) -> None:
    server = server_with(MAX_WINDOW)
    for stream in STREAMS:
        server.calls[stream].answer(bytes(100_000))
    if reset_by_the_client:
        server.receive(frames.rst_stream(3, ErrorCode.CANCEL))
    else:
        server.connection.reset(3, ErrorCode.INTERNAL_ERROR)
        server.take()
    assert server.connection.unsent == 200_000 - 65_535
    assert {stream for stream, _ in bodies(server.sent(window_update(0, 1_000_000)))} == {1, 5}
    assert server.connection.unsent == 0
    assert server.calls[3].drains == 0


def test_settings_are_acknowledged_before_use_is_made_of_them() -> None:
    """A peer counts by its new windows from when it hears that they are known."""
    server = server_with(0)
    server.calls[1].answer(b"message")
    server.take()
    assert [one.kind for one in server.sent(setting(INITIAL_WINDOW_SIZE, 100))] == [
        frames.SETTINGS,
        frames.DATA,
        frames.HEADERS,
    ]


def test_of_several_windows_in_one_frame_the_last_counts() -> None:
    """Taking each in turn would cost what the streams are times what the frame holds."""
    server = server_with(10)
    server.calls[1].answer(bytes(100))
    server.take()
    found = server.sent(frames.settings([(INITIAL_WINDOW_SIZE, 90), (INITIAL_WINDOW_SIZE, 30)]))
    assert bodies(found) == [(1, bytes(20))]


def test_unknown_settings_are_ignored() -> None:
    assert Server().sent(setting(0x99, 2**32 - 1) + setting(0x1, 0) + setting(ENABLE_PUSH, 0)) == [ACK] * 3


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        (INITIAL_WINDOW_SIZE, 2**31, ErrorCode.FLOW_CONTROL_ERROR),
        (MAX_FRAME_SIZE, 2**14 - 1, ErrorCode.PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 2**24, ErrorCode.PROTOCOL_ERROR),
        (ENABLE_PUSH, 2, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_settings_out_of_range_fail_the_connection(name: int, value: int, code: ErrorCode) -> None:
    assert Server().end_of(setting(name, value)) is code


def test_a_window_has_a_largest_size() -> None:
    """Of the connection, of a stream, and of a stream by way of settings."""
    server = server_with(65_535)
    assert server.sent(window_update(0, MAX_WINDOW - 65_535)) == []
    assert server.end_of(window_update(0, 1)) is ErrorCode.FLOW_CONTROL_ERROR

    server = server_with(65_535)
    assert server.sent(window_update(1, MAX_WINDOW - 65_535)) == []
    assert resets_in(server.sent(window_update(1, 1))) == {1: ErrorCode.FLOW_CONTROL_ERROR}
    assert server.calls[1].lost_to is ErrorCode.FLOW_CONTROL_ERROR

    server = server_with(65_535)
    server.receive(window_update(1, MAX_WINDOW - 65_535))
    assert server.end_of(setting(INITIAL_WINDOW_SIZE, 65_536)) is ErrorCode.FLOW_CONTROL_ERROR


def test_a_window_grows_by_something() -> None:
    server = server_with(65_535)
    assert resets_in(server.sent(window_update(1, 0))) == {1: ErrorCode.PROTOCOL_ERROR}
    assert server.end_of(window_update(0, 0)) is ErrorCode.PROTOCOL_ERROR


def test_whoever_sends_is_told_when_nobody_comes_to_take_it() -> None:
    server = server_with(100)
    calls = []
    server.connection.on_output = lambda: calls.append(1)
    server.calls[1].answer(b"corked")
    assert not calls
    server.take()
    server.connection.corked = False
    server.calls[3].answer(b"loose")
    assert len(calls) == 1


# ---------------------------------------------------------------- any order of events


class Reader:
    """The peer as a model: its windows, and what it was sent, which must keep to them."""

    def __init__(self, server: Server, window: int) -> None:
        self.server = server
        self.window, self.frame_size = window, 16_384
        self.initial = 65_535
        self.unacknowledged: list[tuple[int, int]] = []
        self.windows = dict.fromkeys(STREAMS, 65_535)
        self.got = dict.fromkeys(STREAMS, b"")
        self.ended: set[int] = set()

    def read(self, sent: bytes) -> None:
        for one in frames_in(sent):
            assert one.stream not in self.ended
            if one.kind == frames.DATA:
                self.window -= len(one.payload)
                self.windows[one.stream] -= len(one.payload)
                assert 0 < len(one.payload) <= self.frame_size
                assert self.window >= 0
                assert self.windows[one.stream] >= 0
                self.got[one.stream] += one.payload
            elif one.flags & frames.END_STREAM and one.kind == frames.HEADERS:
                self.ended.add(one.stream)
            elif one == ACK:
                self._acknowledged(*self.unacknowledged.pop(0))
            else:
                assert (one.kind, one.payload) == (frames.HEADERS, ANSWER)

    def set(self, name: int, value: int) -> None:
        self.unacknowledged.append((name, value))
        self.read(self.server.receive(setting(name, value)))
        assert not self.unacknowledged

    def _acknowledged(self, name: int, value: int) -> None:
        if name == MAX_FRAME_SIZE:
            self.frame_size = value
            return
        self.windows = {stream: window + value - self.initial for stream, window in self.windows.items()}
        self.initial = value

    def widen(self, stream: int, by: int) -> None:
        if stream in self.ended:
            return
        if stream:
            self.windows[stream] += by
        else:
            self.window += by
        self.read(self.server.receive(window_update(stream, by)))


SIZES = st.one_of(st.integers(1, 20), st.integers(1, 2_000), st.integers(10_000, 90_000))
ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(STREAMS), SIZES),
    st.tuples(st.just("send"), st.sampled_from(STREAMS), SIZES),
    st.tuples(st.just("end"), st.sampled_from(STREAMS), st.just(0)),
    st.tuples(st.just("widen"), st.sampled_from((0, 0, *STREAMS)), SIZES),
    st.tuples(st.just("window"), st.just(0), st.sampled_from([0, 1, 17, 1000, 65_535, 200_000])),
    st.tuples(st.just("frame size"), st.just(0), st.integers(2**14, 2**16)),
)


@given(st.lists(ACTIONS, min_size=5, max_size=40))
def test_in_any_order_no_window_is_overrun_none_is_left_unused_and_all_arrives(
    actions: list[tuple[str, int, int]],
) -> None:
    server = server_with(65_535, (*STREAMS, 7))
    server.calls[7].answer(bytes(65_000))
    server.take()
    connection, reader = server.connection, Reader(server, 535)
    given_in = dict.fromkeys(STREAMS, b"")
    ended: set[int] = set()
    for action, stream, size in actions:
        if action == "send" and stream not in ended:
            message = bytes((len(given_in[stream]) + at) % 251 for at in range(min(size, 251))) * (size // 251 + 1)
            connection.send_data(server.calls[stream], b"pre", message)
            given_in[stream] += b"pre" + message
        elif action == "end" and stream not in ended:
            connection.send_trailers(server.calls[stream], TRAILERS)
            ended.add(stream)
        elif action == "widen":
            reader.widen(stream, size)
        elif action in ("window", "frame size"):
            reader.set(INITIAL_WINDOW_SIZE if action == "window" else MAX_FRAME_SIZE, size)
        reader.read(server.take())
        for each in STREAMS:
            left = len(given_in[each]) - len(reader.got[each])
            assert not left or reader.window <= 0 or reader.windows[each] <= 0
            assert (each in reader.ended) == (each in ended and not left)
        assert connection.unsent == sum(map(len, given_in.values())) - sum(map(len, reader.got.values()))
    reader.widen(0, 2**30)
    for stream in STREAMS:
        reader.widen(stream, 2**30)
    assert reader.got == given_in
    assert reader.ended == ended
    assert connection.unsent == 0


def test_data_comes_after_a_stream_was_widened_from_below_nothing() -> None:
    """Settings may leave a stream with less than no window (section 6.9.2)."""
    server = server_with(10)
    server.calls[1].answer(bytes(100))
    server.receive(setting(INITIAL_WINDOW_SIZE, 0))
    assert server.calls[1].sendable == -10
    assert bodies(server.sent(window_update(1, 10))) == []
    assert bodies(server.sent(window_update(1, 5))) == [(1, bytes(5))]
