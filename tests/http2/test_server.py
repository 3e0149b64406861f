"""The server's side: who may open streams, how they end, and what `h2`'s client makes of it."""

from __future__ import annotations

import h2.events
import h2.exceptions
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http2.wire import (
    ANSWER,
    BLOCK,
    HELLO,
    REQUEST,
    SETTINGS,
    TRAILERS,
    Client,
    Frame,
    Server,
    block_of,
    data,
    frames_in,
    headers,
    resets_in,
)
from turnout_server.http2 import frames
from turnout_server.http2.codes import ErrorCode
from turnout_server.http2.frames import MAX_STREAM_ID, frame, rst_stream
from turnout_server.http2.server import Limits

WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
FRAME = h2.settings.SettingCodes.MAX_FRAME_SIZE


def too_long(stream: int) -> bytes:
    """Return a header block that is too long to be taken."""
    size, parts = frames.DEFAULT_FRAME_SIZE, 6
    ends = [0] * (parts - 1) + [frames.END_HEADERS]
    more = b"".join(frame(frames.CONTINUATION, end, stream, b"\x82" * size) for end in ends)
    return frame(frames.HEADERS, 0, stream, BLOCK) + more


# ---------------------------------------------------------------- the beginning


def test_first_of_all_it_says_what_one_client_may_make_it_hold() -> None:
    first, second = frames_in(Server(Limits(streams=7, window=100_000, fields=9_000), hello=False).take())
    assert (first.kind, first.stream) == (frames.SETTINGS, 0)
    assert dict(frames.settings_in(first.payload)) == {0x3: 7, 0x4: 100_000, 0x6: 9_000}
    assert (second.kind, second.stream, second.number) == (frames.WINDOW_UPDATE, 0, MAX_STREAM_ID - 65_535)


def test_it_is_ready_when_the_preface_and_settings_have_come() -> None:
    server = Server(hello=False)
    server.take()
    assert server.sent(frames.PREFACE) == []
    assert not server.connection.ready
    assert server.sent(SETTINGS) == [Frame(frames.SETTINGS, frames.ACK, 0, b"")]
    assert server.connection.ready


@pytest.mark.parametrize("verb", [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"PATCH"])
@pytest.mark.parametrize("piece", [1, 3, 100])
def test_a_client_of_http_1_is_told_in_its_own_words(verb: bytes, piece: int) -> None:
    """However its first bytes are cut."""
    server = Server(hello=False)
    server.take()
    said = verb + b" / HTTP/1.1\r\n\r\n"
    answer = b"".join(server.receive(said[at : at + piece]) for at in range(0, len(said), piece))
    assert answer.startswith(b"HTTP/1.1 505 ")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert server.connection.closed


@pytest.mark.parametrize("said", [b"\x16\x03\x01", b"X", b"PRJ", b"\0" * 30, frames.PREFACE[:-1] + b"x", b"PX"])
def test_what_is_not_http_2_is_told_so(said: bytes) -> None:
    assert Server(hello=False).end_of(said) is ErrorCode.PROTOCOL_ERROR


# ---------------------------------------------------------------- requests


def test_a_request_opens_a_stream_and_may_be_all_there_is() -> None:
    server = Server()
    server.receive(headers(1, block_of(REQUEST)) + headers(3, end=True))
    request = server.calls[1].request
    assert request is not None
    assert (request.method, request.path, request.headers) == ("POST", "/a.B/C", {"te": "trailers"})
    assert [what for what, *_ in server.happened] == ["opened", "opened", "data"]
    assert (server.calls[1].ended, server.calls[3].ended) == (False, True)
    assert not server.calls[3].remote_open


def test_trailers_end_a_body() -> None:
    server = Server()
    assert server.sent(headers(1) + data(1, b"body") + headers(1, TRAILERS, end=True)) == []
    assert server.happened[1:] == [("data", 1, b"body", False), ("data", 1, b"", True)]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(headers(1, TRAILERS), ErrorCode.PROTOCOL_ERROR, id="trailers that don't end it"),
        pytest.param(headers(1, BLOCK, end=True), ErrorCode.PROTOCOL_ERROR, id="trailers with a pseudo-field"),
        pytest.param(headers(1, b"\x00\x01X\x011", end=True), ErrorCode.PROTOCOL_ERROR, id="trailers with a bad name"),
        pytest.param(
            headers(1, b"\x00\x01x\x7f\x81\x7f" + b"v" * 16_384, end=True),
            ErrorCode.ENHANCE_YOUR_CALM,
            id="trailers beyond the limit",
        ),
        pytest.param(
            data(1, b"", end=True) + headers(1, TRAILERS, end=True), ErrorCode.STREAM_CLOSED, id="after the end"
        ),
    ],
)
def test_more_headers_of_a_wrong_kind_reset_the_stream(sent: bytes, code: ErrorCode) -> None:
    server = Server()
    assert resets_in(server.sent(headers(1) + sent + headers(3))) == {1: code}
    assert server.calls[1].lost_to is code
    assert set(server.connection.streams) == {3}


def test_a_malformed_request_is_reset_and_nobody_hears_of_it() -> None:
    server = Server()
    assert resets_in(server.sent(headers(1, b"\x82") + headers(3))) == {1: ErrorCode.PROTOCOL_ERROR}
    assert set(server.calls) == {3}


def test_a_request_with_more_fields_than_allowed_has_no_head() -> None:
    server = Server(Limits(fields=1_000))
    server.receive(headers(1, block_of([*REQUEST, ("x", "v" * 1_000)])) + headers(3))
    assert server.calls[1].request is None
    assert server.calls[3].request is not None


def test_streams_past_the_limit_are_refused_and_what_follows_on_them_is_dropped() -> None:
    server = Server(Limits(streams=2))
    server.receive(headers(1) + headers(3))
    found = server.sent(headers(5) + data(5, b"x") + headers(7, end=True))
    assert resets_in(found) == {5: ErrorCode.REFUSED_STREAM, 7: ErrorCode.REFUSED_STREAM}
    assert set(server.calls) == {1, 3}
    server.receive(rst_stream(1, ErrorCode.CANCEL) + headers(9))
    assert set(server.connection.streams) == {3, 9}


def test_a_refused_request_changes_the_table_all_the_same() -> None:
    server = Server(Limits(streams=1))
    indexed = b"\x83\x86\x44\x02/a\x40\x01x\x011"
    assert resets_in(server.sent(headers(1) + headers(3, indexed))) == {3: ErrorCode.REFUSED_STREAM}
    server.receive(rst_stream(1, ErrorCode.CANCEL) + headers(5, b"\x83\x86\xbf\xbe"))
    request = server.calls[5].request
    assert request is not None
    assert (request.path, request.headers) == ("/a", {"x": "1"})


def test_calls_that_run_on_without_their_stream_count_as_streams() -> None:
    """CVE-2023-44487: else there would be no limit to them."""
    server = Server(Limits(streams=2))
    server.receive(headers(1))
    server.connection.lingering += 1
    assert resets_in(server.sent(headers(3))) == {3: ErrorCode.REFUSED_STREAM}
    server.connection.lingering -= 1
    assert server.sent(headers(5)) == []


# ---------------------------------------------------------------- answers


def test_a_complete_answer_ends_the_stream() -> None:
    server = Server()
    server.receive(headers(1, end=True))
    server.calls[1].answer(b"answer")
    assert server.sent()[-1] == Frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, TRAILERS)
    assert not server.connection.streams
    assert server.calls[1].lost_to is None


@pytest.mark.parametrize("waiting", [False, True])
def test_an_answer_before_the_end_of_the_request_tells_the_client_to_stop(waiting: bool) -> None:
    """Section 8.1: RST_STREAM with NO_ERROR, after the whole answer."""
    server = Server()
    server.receive(headers(1))
    server.calls[1].answer(bytes(65_536) if waiting else b"early")
    found = server.sent(frames.window_update(1, 9) + frames.window_update(0, 9))
    assert found[-2:] == [
        Frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, TRAILERS),
        Frame(frames.RST_STREAM, 0, 1, bytes(4)),
    ]
    assert server.sent(data(1, b"late", end=True)) == []
    assert not server.calls[1].body


@pytest.mark.parametrize("end", [False, True])
def test_a_call_may_be_answered_at_once_and_is_never_open_then(end: bool) -> None:
    server = Server()
    server.turned_away = True
    found = server.sent(headers(1, end=end))
    assert found[0] == Frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, ANSWER)
    assert resets_in(found) == ({} if end else {1: ErrorCode.NO_ERROR})
    assert not server.connection.streams
    assert server.sent(b"" if end else data(1, b"late")) == []


@pytest.mark.parametrize("end", [False, True])
def test_a_call_that_is_answered_when_it_opens_takes_no_body(end: bool) -> None:
    server = Server()
    server.on_open = lambda call: call.answer(b"hello")
    found = server.sent(headers(1, end=end) + (b"" if end else data(1, b"late", end=True)))
    assert resets_in(found) == ({} if end else {1: ErrorCode.NO_ERROR})
    assert [what for what, *_ in server.happened] == ["opened"]


def test_whoever_reads_no_answers_is_crowded() -> None:
    server = Server(Limits(unsent=100_000))
    server.receive(frames.settings([(0x4, 0)]) + headers(1, end=True) + headers(3, end=True))
    server.calls[1].answer(bytes(100_000))
    assert not server.connection.crowded
    server.calls[3].answer(b"x")
    assert server.connection.crowded
    assert len(server.take()) < 100
    server.receive(frames.window_update(3, 1))
    assert not server.connection.crowded


# ---------------------------------------------------------------- the end


def last_streams(found: list[Frame]) -> list[int]:
    return [int.from_bytes(one.payload[:4], "big") for one in found if one.kind == frames.GOAWAY]


def test_an_end_that_is_announced_leaves_time_for_what_is_on_its_way() -> None:
    server = Server()
    server.receive(headers(1))
    server.connection.announce_end()
    assert last_streams(server.sent()) == [MAX_STREAM_ID]
    server.receive(headers(3) + data(1, b"x", end=True))
    server.calls[1].answer(b"1")
    server.connection.end()
    assert last_streams(server.sent()) == [3]
    assert (server.calls[1].lost_to, server.calls[3].lost_to) == (None, ErrorCode.CANCEL)
    server.connection.end()
    server.connection.announce_end()
    assert server.take() == b""


def test_when_the_client_is_gone_every_call_hears_it_once() -> None:
    server = Server()
    server.receive(headers(1) + headers(3, end=True) + frame(frames.HEADERS, 0, 5, BLOCK))
    server.calls[3].answer(bytes(100_000))
    server.connection.lose_everything()
    server.connection.lose_everything()
    assert {stream: call.lost_to for stream, call in server.calls.items()} == {1: ErrorCode.CANCEL, 3: ErrorCode.CANCEL}
    assert server.connection.unsent == 0
    assert server.connection.closed


def test_a_block_that_is_too_long_is_answered_and_is_the_last_that_is_read() -> None:
    """What is in progress goes on; nothing after that block can be decoded."""
    server = Server()
    server.receive(headers(1))
    assert last_streams(server.sent(too_long(3))) == [3]
    assert server.calls[3].request is None
    assert resets_in(server.sent(headers(5) + data(5, b"x"))) == {5: ErrorCode.REFUSED_STREAM}
    server.receive(data(1, b"x") + headers(1, b"\xbe", end=True))  # which may name a field of that block
    assert server.calls[1].ended
    server.calls[1].answer(b"done")
    assert server.sent()[-1].flags & frames.END_STREAM
    server.connection.announce_end()
    server.connection.end()
    assert last_streams(server.sent()) == [3, 3]  # section 6.8: never more than was said before


@pytest.mark.parametrize(("first", "second"), [(headers(3), too_long(3)), (too_long(3), too_long(5))])
def test_trailers_that_are_too_long_end_the_connection_and_so_does_a_second_such_block(
    first: bytes, second: bytes
) -> None:
    server = Server()
    server.receive(first)
    assert server.end_of(second) is ErrorCode.ENHANCE_YOUR_CALM


# ---------------------------------------------------------------- with another client


def test_calls_go_to_and_fro() -> None:
    client = Client()
    streams = [client.begin() for _ in range(5)]
    for number in range(3):
        for stream in streams:
            client.h2.send_data(stream, b"%d-%d;" % (stream, number), end_stream=number == 2, pad_length=number)
    client.talk()
    for stream in reversed(streams):
        call = client.server.calls[stream]
        assert call.body == b"".join(b"%d-%d;" % (stream, number) for number in range(3))
        call.answer(b"answer %d" % stream)
    client.talk()
    for stream in streams:
        assert client.body(stream) == b"answer %d" % stream
        assert client.of(h2.events.TrailersReceived, stream)
        assert client.of(h2.events.StreamEnded, stream)
    assert not client.server.connection.streams


def test_a_client_may_change_its_windows_in_the_middle_of_an_answer() -> None:
    """It counts by the new ones once they are acknowledged, and fails if it is sent too much."""
    client = Client()
    client.h2.update_settings({WINDOW: 10})
    client.talk()
    stream = client.begin(end=True)
    client.talk()
    client.server.calls[stream].answer(bytes(range(200)))
    client.talk()
    assert len(client.body(stream)) == 10
    client.h2.update_settings({WINDOW: 60})
    client.talk()
    assert len(client.body(stream)) == 60
    client.h2.update_settings({WINDOW: 0})
    client.talk()
    client.h2.increment_flow_control_window(70, stream)  # of which 60 make up for what is less than nothing
    client.talk()
    assert len(client.body(stream)) == 70
    client.h2.update_settings({WINDOW: 1_000, FRAME: 20_000})
    client.talk()
    assert client.body(stream) == bytes(range(200))


def test_what_a_client_sends_is_bounded_by_what_was_granted() -> None:
    client = Client(Limits(window=100))
    stream = client.begin()
    client.h2.send_data(stream, bytes(100))
    with pytest.raises(h2.exceptions.FlowControlError):
        client.h2.send_data(stream, b"x")
    client.talk()
    client.server.connection.grant(client.server.calls[stream], 50)
    client.talk()
    client.h2.send_data(stream, bytes(50), end_stream=True)
    client.talk()
    assert len(client.server.calls[stream].body) == 150


def test_a_client_hears_why_its_stream_ended_and_may_end_it_itself() -> None:
    client = Client(Limits(streams=2))
    first, second = client.begin(), client.begin()
    client.talk()
    client.h2.reset_stream(first, ErrorCode.CANCEL)
    client.talk()
    assert client.server.calls[first].lost_to is ErrorCode.CANCEL
    client.server.connection.reset(second, ErrorCode.INTERNAL_ERROR)
    client.talk()
    (reset,) = client.of(h2.events.StreamReset, second)
    assert (reset.error_code, reset.remote_reset) == (ErrorCode.INTERNAL_ERROR, True)  # type: ignore[attr-defined]


def test_a_client_takes_an_early_answer_and_stops() -> None:
    client = Client()
    stream = client.begin()
    client.talk()
    client.server.calls[stream].answer(b"enough")
    client.talk()
    assert client.body(stream) == b"enough"
    assert client.of(h2.events.StreamEnded, stream)
    assert client.begin() > stream
    client.talk()
    assert len(client.server.connection.streams) == 1


def test_a_client_is_told_goodbye() -> None:
    client = Client()
    stream = client.begin(end=True)
    client.talk()
    client.server.calls[stream].answer(b"last")
    client.server.connection.end()
    client.talk()
    assert client.body(stream) == b"last"
    (goodbye,) = client.of(h2.events.ConnectionTerminated)
    assert (goodbye.error_code, goodbye.last_stream_id) == (ErrorCode.NO_ERROR, stream)  # type: ignore[attr-defined]


def test_a_client_pings_prioritizes_and_sends_long_headers_and_trailers() -> None:
    client = Client(Limits(fields=200_000))
    client.h2.ping(b"12345678")
    first, second = 1, 3
    client.h2.send_headers(first, REQUEST, priority_weight=7, priority_depends_on=0, priority_exclusive=True)
    client.h2.prioritize(first, weight=9)
    long = [(f"x-{number}", "v" * 500) for number in range(60)]
    client.h2.send_headers(second, REQUEST + long)
    for stream in (first, second):
        client.h2.send_headers(stream, [("checksum", "1")], end_stream=True)
    client.talk()
    assert [event.ping_data for event in client.of(h2.events.PingAckReceived)] == [b"12345678"]  # type: ignore[attr-defined]
    assert all(client.server.calls[stream].ended for stream in (first, second))
    request = client.server.calls[second].request
    assert request is not None
    assert request.headers == {"te": "trailers", **dict(long)}


STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "send", "end", "answer", "grow", "window", "reset"]), st.integers(0, 10_000)),
    max_size=40,
)


@given(STEPS)
def test_whatever_a_client_does_by_the_rules_both_sides_agree(steps: list[tuple[str, int]]) -> None:
    """It would raise for a rule that the server breaks, and the server would end the connection for one of its own."""
    client = Client()
    server = client.server
    sent: dict[int, bytes] = {}
    answers: dict[int, bytes] = {}
    sending: list[int] = []
    for step, number in steps:
        unanswered = [stream for stream in server.connection.streams if stream not in answers]
        if step == "begin":
            stream = client.begin()
            sent[stream] = b""
            sending.append(stream)
        elif step == "answer" and unanswered:
            stream = unanswered[number % len(unanswered)]
            answers[stream] = bytes((stream % 251,)) * (number * 10)
            server.calls[stream].answer(answers[stream])
            if stream in sending:
                sending.remove(stream)
        elif step == "grow":
            client.h2.increment_flow_control_window(number + 1)
        elif step == "window":
            client.h2.update_settings({WINDOW: number})
        elif sending:
            stream = sending[number % len(sending)]
            if step == "reset":
                client.h2.reset_stream(stream)
                answers[stream] = b""
            else:
                client.h2.send_data(stream, bytes((number % 256,)) * (number % 1000), end_stream=step == "end")
                sent[stream] += bytes((number % 256,)) * (number % 1000)
            if step != "send":
                sending.remove(stream)
        client.talk()
        assert not server.connection.closed
        assert all(server.calls[stream].body == body for stream, body in sent.items())
    client.h2.update_settings({WINDOW: 1_000_000})
    client.h2.increment_flow_control_window(2**30)
    client.talk()
    assert all(client.body(stream) == answer for stream, answer in answers.items())
    assert server.connection.unsent == 0
    assert set(server.connection.streams) == set(sent) - set(answers)


def test_a_whole_conversation_in_bytes() -> None:
    """What exactly goes over the wire for one small call."""
    server = Server(hello=False)
    server.take()
    assert server.receive(HELLO + headers(1, end=True)) == frame(frames.SETTINGS, frames.ACK, 0)
    server.calls[1].answer(b"answer")
    assert server.take() == headers(1, ANSWER) + data(1, b"answer") + headers(1, TRAILERS, end=True)
