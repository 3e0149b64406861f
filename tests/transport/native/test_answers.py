"""Header blocks, as a decoder that is not ours reads them."""

from __future__ import annotations

import base64
from urllib.parse import unquote

import grpc
import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.transport.native import answers
from turnout_server.transport.status import Status

NAMES = st.from_regex(r"[a-z0-9_.-]{1,300}", fullmatch=True)
VISIBLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=70_000)


def decoded(block: bytes) -> list[tuple[str, str]]:
    decoder = hpack.Decoder(max_header_list_size=2**20)
    fields = [(str(name), str(value)) for name, value in decoder.decode(block)]
    assert not decoder.header_table.dynamic_entries, "what was sent depends on what was sent before"
    return fields


@given(NAMES, VISIBLE)
def test_a_field_of_any_length_is_read_as_it_was_written(name: str, value: str) -> None:
    assert decoded(answers.field(name, value)) == [(name, value)]


@pytest.mark.parametrize("length", [0, 126, 127, 128, 254, 255, 256, 16_509, 16_510, 16_511])
def test_lengths_are_right_where_their_coding_changes(length: int) -> None:
    assert decoded(answers.field("x" * max(length, 1), "y" * length)) == [("x" * max(length, 1), "y" * length)]


def test_what_goes_well_is_two_constants() -> None:
    assert decoded(answers.HEADERS) == [(":status", "200"), ("content-type", "application/grpc")]
    assert decoded(answers.TRAILERS) == [("grpc-status", "0")]


@given(st.sampled_from(list(grpc.StatusCode)), st.text())
def test_any_message_comes_through_as_visible_ascii(code: grpc.StatusCode, message: str) -> None:
    fields = dict(decoded(answers.status_fields(Status(code, message, ()))))
    assert fields["grpc-status"] == str(code.value[0])
    text = fields.get("grpc-message", "")
    assert text.isascii()
    assert not text or text.isprintable()
    assert unquote(text, errors="strict") == message


def test_a_message_stays_readable() -> None:
    block = answers.status_fields(Status(grpc.StatusCode.ABORTED, "100% of 'a/b' [c]: café", ()))
    assert dict(decoded(block))["grpc-message"] == "100%25 of 'a/b' [c]: caf%C3%A9"


@given(st.binary(max_size=200))
def test_binary_trailers_are_base64_without_padding(value: bytes) -> None:
    block = answers.status_fields(Status(grpc.StatusCode.ABORTED, "", (("x-bin", value), ("y", "text"))))
    fields = dict(decoded(block))
    assert fields["y"] == "text"
    assert "=" not in fields["x-bin"]
    assert base64.b64decode(fields["x-bin"] + "=" * (-len(fields["x-bin"]) % 4), validate=True) == value


def test_a_call_without_an_answer_has_headers_and_trailers_in_one_block() -> None:
    assert decoded(answers.only_status(Status(grpc.StatusCode.ABORTED, "no", ()))) == [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "10"),
        ("grpc-message", "no"),
    ]


def test_who_does_not_speak_grpc_gets_a_status_of_http() -> None:
    assert decoded(answers.NOT_GRPC) == [(":status", "415")]
    assert decoded(answers.NOT_POST) == [(":status", "405"), ("allow", "POST")]


def test_an_unknown_encoding_is_answered_with_those_that_are_known() -> None:
    fields = dict(decoded(answers.UNKNOWN_ENCODING))
    assert fields["grpc-status"] == "12"
    assert fields["grpc-accept-encoding"] == "identity,deflate,gzip"
