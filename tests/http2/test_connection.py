"""Frames in: what each may be, how often, and what becomes of it, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http2.wire import (
    BLOCK,
    HELLO,
    SETTINGS,
    TRAILERS,
    Frame,
    Server,
    block_of,
    data,
    frames_in,
    headers,
    padded,
    resets_in,
)
from tests.tables import check_all
from turnout_server.http2 import frames
from turnout_server.http2.codes import ErrorCode
from turnout_server.http2.connection import FRAME_SIZE, FRAMES_A_TURN, TURN_S
from turnout_server.http2.frames import frame, rst_stream, window_update
from turnout_server.http2.outbox import INITIAL_WINDOW_SIZE
from turnout_server.http2.server import Limits

PING = frame(frames.PING, 0, 0, b"01234567")
FLOOD = 50_000
"""More than any budget has."""


def open_call(**limits: int) -> Server:
    """Return a server with a request on stream 1 whose body is to come."""
    server = Server(Limits(**limits))
    server.receive(headers(1))
    return server


# ---------------------------------------------------------------- DATA


def test_a_body_comes_as_it_is_sent() -> None:
    server = open_call()
    server.receive(data(1, b"one") + data(1, b"two") + data(1, b"", end=True))
    assert server.happened[1:] == [("data", 1, b"one", False), ("data", 1, b"two", False), ("data", 1, b"", True)]
    assert not server.calls[1].remote_open


def test_streams_are_interleaved() -> None:
    server = open_call()
    server.receive(headers(3) + data(3, b"3") + data(1, b"1") + data(3, b"33", end=True) + data(1, b"11", end=True))
    assert (server.calls[1].body, server.calls[3].body) == (b"111", b"333")


def test_a_stream_takes_no_more_than_its_window() -> None:
    server = open_call(window=10)
    assert server.sent(data(1, bytes(10))) == []
    assert resets_in(server.sent(data(1, b"x"))) == {1: ErrorCode.FLOW_CONTROL_ERROR}
    assert (server.calls[1].body, server.calls[1].lost_to) == (bytes(10), ErrorCode.FLOW_CONTROL_ERROR)


def test_a_window_grows_by_what_is_granted() -> None:
    server = open_call(window=10)
    server.receive(data(1, bytes(10)))
    server.connection.grant(server.calls[1], 5)
    assert frames_in(server.take()) == [Frame(frames.WINDOW_UPDATE, 0, 1, (5).to_bytes(4, "big"))]
    assert server.sent(data(1, bytes(5))) == []
    assert resets_in(server.sent(data(1, b"x"))) == {1: ErrorCode.FLOW_CONTROL_ERROR}


def test_nothing_is_granted_to_a_stream_that_has_ended() -> None:
    server = open_call()
    server.receive(data(1, b"", end=True) + headers(3))
    server.connection.grant(server.calls[1], 5)
    server.calls[3].answer(b"early")
    server.take()
    server.connection.grant(server.calls[3], 5)
    assert server.take() == b""


def test_padding_counts_for_windows_and_is_given_back_at_once() -> None:
    server = open_call(window=10)
    for _ in range(5):
        assert server.sent(padded(frames.DATA, 0, 1, b"x", 4)) == [
            Frame(frames.WINDOW_UPDATE, 0, 1, (5).to_bytes(4, "big"))
        ]
    assert server.calls[1].body == b"xxxxx"
    assert resets_in(server.sent(padded(frames.DATA, 0, 1, b"x", 4))) == {1: ErrorCode.FLOW_CONTROL_ERROR}
    assert server.sent(headers(3) + padded(frames.DATA, frames.END_STREAM, 3, b"x", 4)) == []
    assert server.calls[3].body == b"x"


def test_the_connection_s_window_never_runs_out() -> None:
    """It is filled up long before, even by what is dropped."""
    server = open_call()
    server.calls[1].answer(b"early")
    server.take()
    window, much = frames.MAX_WINDOW, data(1, bytes(FRAME_SIZE)) * 64
    for _ in range(3 * 1024):
        window -= 64 * FRAME_SIZE
        assert window > 0
        window += sum(one.number for one in server.sent(much) if (one.kind, one.stream) == (frames.WINDOW_UPDATE, 0))
        assert window <= frames.MAX_WINDOW
    assert not server.connection.closed


def test_what_a_call_finds_wrong_ends_its_stream_only() -> None:
    server = open_call()
    assert resets_in(server.sent(headers(3) + data(1, b"bad") + data(3, b"good"))) == {1: ErrorCode.CANCEL}
    assert server.calls[1].lost_to is ErrorCode.CANCEL
    assert server.calls[3].body == b"good"


def test_data_after_the_end_resets_the_stream() -> None:
    server = open_call()
    assert resets_in(server.sent(data(1, b"", end=True) + data(1, b"x"))) == {1: ErrorCode.STREAM_CLOSED}
    assert server.calls[1].lost_to is ErrorCode.STREAM_CLOSED


def test_what_was_on_its_way_to_a_stream_that_we_ended_is_dropped() -> None:
    server = open_call()
    server.calls[1].answer(b"early")
    found = server.sent()
    assert resets_in(found) == {1: ErrorCode.NO_ERROR}
    assert found[-1].kind == frames.RST_STREAM
    late = data(1, b"x") + window_update(1, 5) + headers(1, TRAILERS, end=True) + rst_stream(1, ErrorCode.CANCEL)
    assert server.sent(late) == []
    assert server.calls[1].body == b""


def test_nothing_is_taken_any_more_when_what_takes_it_ends_the_connection() -> None:
    """And the goodbye stays the last word, even if the stream is at fault as well."""
    server = open_call()
    server.on_data = lambda call: server.connection.end()
    server.connection.receive(data(1, b"bad") + data(1, b"more") + PING)
    assert server.goodbye() == (1, ErrorCode.NO_ERROR)
    assert server.calls[1].body == b"bad"
    assert server.connection._buffer == b""


def test_only_so_many_of_the_streams_that_we_ended_are_remembered() -> None:
    server = Server(Limits(streams=0))
    refused = 5_000
    server.receive(b"".join(headers(stream) for stream in range(1, 2 * refused, 2)))
    assert server.sent(data(2 * refused - 1, b"late") + data(2 * (refused - 2_000) + 1, b"late")) == []
    assert server.end_of(data(2 * (refused - 2_000) - 1, b"too late")) is ErrorCode.STREAM_CLOSED


# ---------------------------------------------------------------- broken rules


BROKEN = [
    ("DATA on stream 0", data(0, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("DATA on an idle stream", data(5, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("DATA on a stream of ours", data(2, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("DATA after a reset", rst_stream(1, ErrorCode.CANCEL) + data(1, b"x"), ErrorCode.STREAM_CLOSED),
    ("padding too long", frame(frames.DATA, frames.PADDED, 1, b"\x05abcd"), ErrorCode.PROTOCOL_ERROR),
    ("HEADERS on stream 0", headers(0), ErrorCode.PROTOCOL_ERROR),
    ("HEADERS on an even stream", headers(2), ErrorCode.PROTOCOL_ERROR),
    ("HEADERS on a stream that ended", rst_stream(1, ErrorCode.CANCEL) + headers(1), ErrorCode.STREAM_CLOSED),
    ("HEADERS on a stream that was passed over", headers(9) + headers(7), ErrorCode.STREAM_CLOSED),
    ("a malformed block", headers(3, b"\x80"), ErrorCode.COMPRESSION_ERROR),
    ("malformed trailers", headers(1, b"\x80", end=True), ErrorCode.COMPRESSION_ERROR),
    ("half a priority", frame(frames.HEADERS, frames.WITH_PRIORITY, 3, b"prio"), ErrorCode.FRAME_SIZE_ERROR),
    ("CONTINUATION of nothing", frame(frames.CONTINUATION, 0, 1), ErrorCode.PROTOCOL_ERROR),
    ("CONTINUATION on stream 0", frame(frames.CONTINUATION, 4, 0), ErrorCode.PROTOCOL_ERROR),
    ("another frame within a block", frame(frames.HEADERS, 0, 3, BLOCK) + PING, ErrorCode.PROTOCOL_ERROR),
    (
        "another stream's CONTINUATION within a block",
        frame(frames.HEADERS, 0, 3, BLOCK) + frame(frames.CONTINUATION, 4, 5),
        ErrorCode.PROTOCOL_ERROR,
    ),
    ("an unknown frame in it", frame(frames.HEADERS, 0, 3, BLOCK) + frame(0x77, 0, 3), ErrorCode.PROTOCOL_ERROR),
    ("PRIORITY on stream 0", frame(frames.PRIORITY, 0, 0, b"prior"), ErrorCode.PROTOCOL_ERROR),
    ("PRIORITY of 4 bytes", frame(frames.PRIORITY, 0, 9, b"prio"), ErrorCode.FRAME_SIZE_ERROR),
    ("RST_STREAM on stream 0", rst_stream(0, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
    ("RST_STREAM on an idle stream", rst_stream(5, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
    ("RST_STREAM of 3 bytes", frame(frames.RST_STREAM, 0, 1, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
    ("SETTINGS on a stream", frame(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    ("SETTINGS of 5 bytes", frame(frames.SETTINGS, 0, 0, b"abcde"), ErrorCode.FRAME_SIZE_ERROR),
    ("SETTINGS that say ACK, and more", frame(frames.SETTINGS, 1, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    ("PUSH_PROMISE", frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    ("PING on a stream", frame(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    ("PING of 7 bytes", frame(frames.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    ("GOAWAY on a stream", frame(frames.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    ("GOAWAY of 7 bytes", frame(frames.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    ("WINDOW_UPDATE of 3 bytes", frame(frames.WINDOW_UPDATE, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    ("WINDOW_UPDATE on an idle stream", window_update(5, 1), ErrorCode.PROTOCOL_ERROR),
    ("too long a frame", frame(0x77, 0, 0, bytes(FRAME_SIZE + 1)), ErrorCode.FRAME_SIZE_ERROR),
]


def test_a_rule_that_the_connection_rests_on_ends_it_when_it_is_broken() -> None:
    def check(name: str, sent: bytes, code: ErrorCode) -> None:
        server = open_call()
        assert server.end_of(sent + data(1, b"too late")) is code
        assert server.connection.failure is not None
        assert server.connection.failure.code is code
        assert server.calls[1].lost_to is not None
        assert server.calls[1].body == b""
        assert server.receive(data(1, b"too late")) == b""
        assert not server.connection.streams

    check_all(BROKEN, check)


def test_a_length_that_is_too_long_is_enough_to_end_it() -> None:
    """Nobody waits for the rest."""
    assert Server().end_of(frame(frames.DATA, 0, 1, bytes(FRAME_SIZE + 1))[:9]) is ErrorCode.FRAME_SIZE_ERROR


@pytest.mark.parametrize("first", [PING, headers(1), frame(frames.SETTINGS, frames.ACK, 0), frame(0x77, 0, 0)])
def test_the_first_frame_is_settings(first: bytes) -> None:
    assert Server(hello=False).end_of(frames.PREFACE + first) is ErrorCode.PROTOCOL_ERROR


def test_a_goodbye_names_the_last_stream_that_was_taken() -> None:
    server = Server()
    server.connection.receive(headers(7) + headers(9) + data(11, b"x"))
    assert server.goodbye() == (9, ErrorCode.PROTOCOL_ERROR)


# ---------------------------------------------------------------- what is answered, and what is ignored


def test_a_ping_is_answered_once() -> None:
    server = Server()
    assert server.sent(PING) == [Frame(frames.PING, frames.ACK, 0, b"01234567")]
    assert server.sent(frame(frames.PING, frames.ACK, 0, b"01234567")) == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(frames.PRIORITY, 0, 1, b"prior"), id="PRIORITY"),
        pytest.param(frame(frames.PRIORITY, 0, 99, b"prior"), id="PRIORITY on an idle stream"),
        pytest.param(frame(0x77, 0xFF, 1, b"what?"), id="an unknown frame"),
        pytest.param(frame(frames.SETTINGS, frames.ACK, 0), id="SETTINGS acknowledged"),
        pytest.param(frame(frames.GOAWAY, 0, 0, bytes(8) + b"bye"), id="GOAWAY"),
    ],
)
def test_what_says_nothing_to_us_is_ignored_and_the_calls_go_on(sent: bytes) -> None:
    server = open_call()
    assert server.sent(sent + data(1, b"body", end=True)) == []
    assert server.calls[1].body == b"body"


def test_the_bit_before_a_number_is_ignored() -> None:
    """Of a stream, and of what a window grows by."""
    server = open_call()
    assert server.sent(frame(frames.WINDOW_UPDATE, 0, 0, (2**31 + 5).to_bytes(4, "big"))) == []
    assert server.connection.sendable == 65_540
    assert server.sent(frame(frames.DATA, frames.END_STREAM, 2**31 + 1, b"body")) == []
    assert server.calls[1].body == b"body"


@pytest.mark.parametrize("code", [ErrorCode.CANCEL, ErrorCode.NO_ERROR])
def test_a_reset_stream_is_lost_once(code: ErrorCode) -> None:
    server = open_call()
    assert server.sent(rst_stream(1, code) + rst_stream(1, code)) == []
    assert server.calls[1].lost_to is code
    assert not server.calls[1].local_open


def test_an_unknown_code_is_an_internal_error() -> None:
    server = open_call()
    server.receive(frame(frames.RST_STREAM, 0, 1, (0x4711).to_bytes(4, "big")))
    assert server.calls[1].lost_to is ErrorCode.INTERNAL_ERROR


@pytest.mark.parametrize("flags", [0, frames.PADDED, frames.WITH_PRIORITY, frames.PADDED | frames.WITH_PRIORITY])
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_a_header_block_comes_in_any_wrapping(flags: int, pieces: int) -> None:
    size = len(BLOCK) // pieces + 1
    first, *rest = [BLOCK[at : at + size] for at in range(0, len(BLOCK), size)]
    if flags & frames.WITH_PRIORITY:
        first = b"prior" + first
    if flags & frames.PADDED:
        first = b"\x03" + first + bytes(3)
    ends = [0] * len(rest) + [frames.END_HEADERS]
    sent = frame(frames.HEADERS, flags | frames.END_STREAM | ends[0], 1, first)
    sent += b"".join(frame(frames.CONTINUATION, end, 1, piece) for piece, end in zip(rest, ends[1:], strict=True))
    server = Server()
    assert server.sent(sent) == []
    assert [what for what, *_ in server.happened] == ["opened", "data"]
    assert server.calls[1].ended


# ---------------------------------------------------------------- floods


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(PING, id="PING"),
        pytest.param(SETTINGS, id="SETTINGS"),
        pytest.param(frame(frames.SETTINGS, frames.ACK, 0), id="SETTINGS acknowledged"),
        pytest.param(data(1, b""), id="empty DATA"),
        pytest.param(padded(frames.DATA, 0, 1, b"", 9), id="nothing but padding"),
        pytest.param(data(3, b""), id="empty DATA on a stream that we ended"),
        pytest.param(headers(3, TRAILERS, end=True), id="trailers on a stream that we ended"),
        pytest.param(frame(frames.PRIORITY, 0, 1, b"prior"), id="PRIORITY"),
        pytest.param(frame(frames.GOAWAY, 0, 0, bytes(8)), id="GOAWAY"),
        pytest.param(frame(0x77, 0, 0), id="unknown frames"),
        pytest.param(rst_stream(1, ErrorCode.CANCEL), id="RST_STREAM on a stream that has ended"),
    ],
)
def test_a_flood_ends_the_connection(one: bytes) -> None:
    server = open_call()
    server.receive(headers(3))
    server.calls[3].answer(b"early")
    server.take()
    assert server.end_of(one * FLOOD) is ErrorCode.ENHANCE_YOUR_CALM


def test_what_comes_now_and_then_is_no_flood() -> None:
    server = open_call()
    for _ in range(FLOOD):
        server.clock.now += 0.01
        assert server.receive(PING)
    assert not server.connection.closed


@pytest.mark.parametrize("size", [0, FRAME_SIZE])
def test_a_header_block_without_end_ends_the_connection(size: int) -> None:
    """CVE-2024-27316: and until then, hardly any of it is kept."""
    server = Server()
    server.receive(frame(frames.HEADERS, 0, 3, BLOCK))
    for _ in range(100):
        server.connection.receive(frame(frames.CONTINUATION, 0, 3, b"\x82" * size))
        assert len(server.connection._block) <= 6 * FRAME_SIZE
    assert server.goodbye()[1] is ErrorCode.ENHANCE_YOUR_CALM


def test_any_number_of_header_blocks_may_come_in_pieces() -> None:
    """Pieces are counted block by block, and nothing of one is left in the next, or kept."""
    server = Server()
    for stream in range(1, 201, 2):
        pieces = [
            frame(frames.CONTINUATION, frames.END_HEADERS * (at == 9), stream, BLOCK[at : at + 1]) for at in range(10)
        ]
        server.receive(frame(frames.HEADERS, 0, stream) + b"".join(pieces))
    assert len(server.calls) == 100
    assert server.connection._block == b""


def test_streams_that_are_reset_at_once_end_the_connection() -> None:
    """CVE-2023-44487."""
    server = Server()
    for stream in range(1, 2 * FLOOD, 2):
        server.connection.receive(headers(stream) + rst_stream(stream, ErrorCode.CANCEL))
        if server.connection.closed:
            break
    assert server.goodbye()[1] is ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(b"\x00\x00\x04\x08\x00STRM\x00\x00\x00\x00", id="a window that grows by nothing"),
        pytest.param(b"\x00\x00\x00\x00\x01STRM\x00\x00\x01\x00\x00STRMx", id="DATA after the end"),
        pytest.param(b"\x00\x00\x01\x01\x04STRM\x88", id="more headers, without an end"),
        pytest.param(b"\x00\x00\x01\x01\x05STRM\x88", id="trailers that are malformed"),
    ],
)
def test_streams_that_we_are_made_to_reset_end_the_connection(fault: bytes) -> None:
    """CVE-2025-8671: it comes to the same as resetting them."""
    server = Server()
    for stream in range(1, 2 * FLOOD, 2):
        server.connection.receive(headers(stream) + fault.replace(b"STRM", stream.to_bytes(4, "big")))
        if server.connection.closed:
            break
    assert server.goodbye()[1] is ErrorCode.ENHANCE_YOUR_CALM


def test_malformed_requests_without_end_end_the_connection() -> None:
    server = Server()
    bad = block_of([("no", "method")])
    assert server.end_of(b"".join(headers(stream, bad) for stream in range(1, FLOOD, 2))) is ErrorCode.ENHANCE_YOUR_CALM


def test_for_each_stream_that_ended_well_another_may_be_reset() -> None:
    server = Server()
    for stream in range(1, 4 * 6_000, 4):
        server.receive(headers(stream, end=True) + headers(stream + 2) + rst_stream(stream + 2, ErrorCode.CANCEL))
        server.calls.pop(stream).answer(b"")
        server.take()
    assert not server.connection.closed


def test_windows_that_change_cost_once_a_frame_however_often_it_says_so() -> None:
    """Else a frame would cost what it holds, times the streams."""
    server = Server()
    server.receive(b"".join(headers(stream, end=True) for stream in range(1, 201, 2)))
    looks = 0

    class Streams(dict):  # type: ignore[type-arg]
        def values(self):  # type: ignore[no-untyped-def]
            nonlocal looks
            looks += 1
            return super().values()

    server.connection.streams = Streams(server.connection.streams)
    for _ in range(3):  # of which the first changes something
        server.receive(frames.settings([(INITIAL_WINDOW_SIZE, size) for size in range(2_000)]))
    assert looks == 1
    assert {call.sendable for call in server.calls.values()} == {1_999}


# ---------------------------------------------------------------- turns


class Watch:
    """A clock on which every look takes so long, in seconds."""

    def __init__(self, each: float) -> None:
        self.now, self.each = 0.0, each

    def __call__(self) -> float:
        self.now += self.each
        return self.now


def test_a_connection_with_much_to_do_lets_others_have_their_turn() -> None:
    """And goes on where it was."""
    server = open_call()
    server.connection._clock = Watch(TURN_S)
    more = server.connection.receive(data(1, b"x") * (3 * FRAMES_A_TURN + 1))
    turns = 1
    while more:
        assert len(server.calls[1].body) == turns * FRAMES_A_TURN
        more = server.connection.receive(b"")
        turns += 1
    assert turns == 4
    assert len(server.calls[1].body) == 3 * FRAMES_A_TURN + 1


@pytest.mark.parametrize("left", [0, 1])
def test_what_was_taken_is_not_kept(left: int) -> None:
    server = open_call()
    server.receive(data(1, b"x") * FRAMES_A_TURN + b"\0" * left)
    assert len(server.connection._buffer) - server.connection._at == left
    assert left or server.connection._buffer == b""


# ---------------------------------------------------------------- bytes, however they are cut


class Piece(bytes):
    """Bytes that count what is copied to put them behind others."""

    copied = 0

    def __radd__(self, other: bytes) -> bytes:
        Piece.copied += len(other) + len(self)
        return bytes(other) + bytes(self)


@pytest.mark.parametrize(("size", "piece", "times"), [(100, 1, 60), (FRAME_SIZE, 700, 30), (FRAME_SIZE, 100_000, 3)])
def test_what_is_copied_to_put_frames_together_does_not_grow_with_what_came(size: int, piece: int, times: int) -> None:
    """The largest that is ever put before a piece is a frame that is not whole: never all of a long message."""
    server = open_call(window=1 << 30)
    wire = data(1, bytes(size)) * ((1 << 22) // size if piece > 1 else 100)
    Piece.copied = 0
    for at in range(0, len(wire), piece):
        server.connection.receive(Piece(wire[at : at + piece]))
        assert len(server.connection._buffer) <= size + 9 + piece
    assert Piece.copied <= times * len(wire)
    assert len(server.calls[1].body) == len(wire) - 9 * (len(wire) // (size + 9))


OTHERS = [PING, SETTINGS, window_update(0, 9), frame(0x77, 0, 0, b"?"), frame(frames.PRIORITY, 0, 1, b"prior")]
BAD = [b"", b"", data(0, b"x"), headers(1), frame(frames.HEADERS, 0, 99, BLOCK) + PING, headers(99, b"\x80")]


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """What a client may say; by the rules, until its last word."""
    said = [HELLO]
    opened, going = -1, []
    for _ in range(draw(st.integers(1, 15))):
        kinds = ["open", "cut", "other"] + ["data", "data", "padded", "trailers", "reset"] * bool(going)
        kind = draw(st.sampled_from(kinds))
        end = draw(st.booleans())
        stream = draw(st.sampled_from(going)) if going else 0
        if kind in ("open", "cut"):
            opened += 2
            going.append(stream := opened)
            block = BLOCK + draw(st.sampled_from([b"", b"\x40\x01x\x02yy", b"\x88"]))
            at = draw(st.integers(0, len(block))) if kind == "cut" else 0
            if kind == "cut":
                said.append(frame(frames.HEADERS, frames.END_STREAM * end, stream, block[:at]))
                said.append(frame(frames.CONTINUATION, frames.END_HEADERS, stream, block[at:]))
            else:
                said.append(headers(stream, block, end=end))
        elif kind == "data":
            said.append(data(stream, draw(st.binary(max_size=40)), end=end))
        elif kind == "padded":
            flags, padding = frames.END_STREAM * end, draw(st.integers(0, 9))
            said.append(padded(frames.DATA, flags, stream, draw(st.binary(max_size=9)), padding))
        elif kind == "trailers":
            said.append(headers(stream, TRAILERS, end=True))
        elif kind == "reset":
            said.append(rst_stream(stream, ErrorCode.CANCEL))
        else:
            said.append(draw(st.sampled_from(OTHERS)))
        if kind in ("trailers", "reset") or (kind != "other" and end):
            going.remove(stream)
    return b"".join([*said, draw(st.sampled_from(BAD))])


@given(conversations(), st.data())
def test_however_a_conversation_is_cut_the_same_happens(wire: bytes, cuts: st.DataObject) -> None:
    whole, pieces = Server(hello=False), Server(hello=False)
    expected = whole.receive(wire)
    sent, at = b"", 0
    for cut in [*sorted(cuts.draw(st.sets(st.integers(0, len(wire)), max_size=30))), len(wire)]:
        sent += pieces.receive(wire[at:cut])
        at = cut
    assert pieces.happened == whole.happened
    assert sent == expected
    assert pieces.connection.closed is whole.connection.closed


def test_a_conversation_may_come_byte_by_byte() -> None:
    wire = HELLO + headers(1) + data(1, b"one") + PING + data(1, b"two", end=True)
    whole, dripped = Server(hello=False), Server(hello=False)
    assert b"".join(dripped.receive(wire[at : at + 1]) for at in range(len(wire))) == whole.receive(wire)
    assert dripped.happened == whole.happened


# ---------------------------------------------------------------- bytes without sense

BEGUN = HELLO + headers(1) + headers(3) + headers(7, end=True)
OPEN = st.sampled_from([1, 3, 7])
BYTES = st.binary(max_size=30)
SENSE = st.one_of(
    st.builds(
        headers, OPEN, st.sampled_from([BLOCK, BLOCK, BLOCK + b"\x40\x01x\x011", TRAILERS, b"\x82"]), st.booleans()
    ),
    st.builds(data, OPEN, BYTES, st.booleans()),
    st.builds(padded, st.just(frames.DATA), st.sampled_from([0, frames.END_STREAM]), OPEN, BYTES, st.integers(0, 99)),
    st.builds(rst_stream, OPEN, st.sampled_from(ErrorCode)),
    st.builds(window_update, st.sampled_from([0, 1, 3, 5]), st.integers(0, 300)),
    st.builds(lambda size: frames.settings([(INITIAL_WINDOW_SIZE, size)]), st.integers(0, 300)),
    st.sampled_from(OTHERS),
)
NONSENSE = st.builds(
    frame,
    st.one_of(st.integers(0, 9), st.integers(0, 255)),
    st.one_of(st.sampled_from([0, 1, 4, 5, 8, 13, 0x2D]), st.integers(0, 255)),
    st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)),
    st.one_of(st.sampled_from([b"", BLOCK, TRAILERS, bytes(4), b"\0\0\0\x05", bytes(8)]), BYTES),
)
WIRES = st.tuples(
    st.lists(SENSE, max_size=20),
    st.lists(st.one_of(SENSE, NONSENSE), max_size=3),
    BYTES,
).map(lambda parts: [*parts[0], *parts[1], parts[2]])


@pytest.mark.parametrize("first", [BEGUN, HELLO, frames.PREFACE, b""], ids=["begun", "hello", "preface", "nothing"])
@given(pieces=WIRES, choices=st.data())
def test_nothing_that_a_peer_sends_raises(first: bytes, pieces: list[bytes], choices: st.DataObject) -> None:
    """At most the connection ends, with a word why; and nothing that was open is forgotten, or told twice."""
    server = Server(Limits(streams=4, window=100), hello=False)
    server.take()
    for piece in [first, *pieces]:
        server.connection.receive(piece)
        for call in list(server.connection.streams.values()):
            if call.unsent is None and choices.draw(st.integers(0, 3)) == 0:
                call.answer(bytes(200))  # type: ignore[attr-defined]
        assert len(server.connection.streams) <= 4
        if server.connection.closed:
            break
    if server.connection.closed:
        assert server.connection.streams == {}
        sent = server.take()
        assert sent.startswith(b"HTTP/1.1 505") or [one.kind for one in frames_in(sent)][-1] == frames.GOAWAY
        assert all(call.lost_to is not None or not call.local_open for call in server.calls.values())
    assert server.connection.unsent == sum(
        call.unsent.size for call in server.connection.streams.values() if call.unsent is not None
    )
