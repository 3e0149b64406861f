"""Frames as bytes."""

from __future__ import annotations

import pytest
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame
from hypothesis import given
from hypothesis import strategies as st

from tests.http2.wire import frames_in
from turnout_server.http2 import frames
from turnout_server.http2.codes import ConnectionFailure, ErrorCode

STREAMS = st.integers(1, frames.MAX_STREAM_ID)
WORDS = st.integers(0, 2**32 - 1)


def read(data: bytes) -> Frame:
    """Return the frame in *data* as another library reads it."""
    frame, length = Frame.parse_frame_header(memoryview(data[:9]))
    frame.parse_body(memoryview(data[9:]))
    assert len(data) == 9 + length
    return frame


@given(stream=STREAMS, code=st.sampled_from(ErrorCode), increment=st.integers(1, frames.MAX_WINDOW))
def test_others_read_what_we_write(stream: int, code: ErrorCode, increment: int) -> None:
    reset = read(frames.rst_stream(stream, code))
    assert isinstance(reset, RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (stream, code)
    update = read(frames.window_update(stream, increment))
    assert isinstance(update, WindowUpdateFrame)
    assert (update.stream_id, update.window_increment) == (stream, increment)
    goodbye = read(frames.goaway(stream, code, "so it is: ü"))
    assert isinstance(goodbye, GoAwayFrame)
    assert (goodbye.last_stream_id, goodbye.error_code) == (stream, code)
    assert goodbye.additional_data == b"so it is: ?"


@given(st.dictionaries(st.integers(0, 2**16 - 1), WORDS))
def test_settings_come_back_as_they_were(values: dict[int, int]) -> None:
    written = frames.settings(values.items())
    assert frames.settings_in(written[frames.HEADER_SIZE :]) == list(values.items())
    assert isinstance(frame := read(written), SettingsFrame)
    assert frame.settings == values


@pytest.mark.parametrize("size", [1, 5, 7])
def test_settings_are_whole(size: int) -> None:
    with pytest.raises(ConnectionFailure) as caught:
        frames.settings_in(bytes(size))
    assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR


@given(block=st.binary(max_size=100), end=st.booleans(), size=st.integers(1, 40), stream=STREAMS)
def test_a_long_header_block_is_cut_into_frames_that_the_peer_takes(
    block: bytes, end: bool, size: int, stream: int
) -> None:
    pieces = frames_in(frames.header_block(stream, block, end, size))
    assert [piece.kind for piece in pieces] == [frames.HEADERS] + [frames.CONTINUATION] * (len(pieces) - 1)
    assert b"".join(piece.payload for piece in pieces) == block
    assert all(0 < len(piece.payload) <= size for piece in pieces) or not block
    assert all(piece.stream == stream for piece in pieces)
    assert [bool(piece.flags & frames.END_HEADERS) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert bool(pieces[0].flags & frames.END_STREAM) is end
    assert not any(piece.flags & frames.END_STREAM for piece in pieces[1:])


@given(payload=st.binary(max_size=300), padding=st.integers(0, 255))
def test_padding_is_taken_off(payload: bytes, padding: int) -> None:
    assert frames.unpadded(bytes((padding,)) + payload + bytes(padding)) == payload


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x03ab"])
def test_padding_is_shorter_than_its_frame(payload: bytes) -> None:
    with pytest.raises(ConnectionFailure) as caught:
        frames.unpadded(payload)
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR


def test_a_priority_is_taken_off() -> None:
    assert frames.without_priority(b"prio!block") == b"block"
    with pytest.raises(ConnectionFailure) as caught:
        frames.without_priority(b"prio")
    assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR


@given(WORDS)
def test_a_word_is_four_bytes(value: int) -> None:
    assert frames.word(value.to_bytes(4, "big"), "RST_STREAM") == value


@pytest.mark.parametrize("size", [0, 3, 5])
def test_a_word_of_another_size_is_a_failure(size: int) -> None:
    with pytest.raises(ConnectionFailure) as caught:
        frames.word(bytes(size), "RST_STREAM")
    assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR
