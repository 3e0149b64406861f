"""What a call begins with, out of the request's fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transport.native.fakes import Behaviour, echo
from turnout_server.http2.codes import StreamFailure
from turnout_server.http2.fields import Field
from turnout_server.transport.native import answers
from turnout_server.transport.native.head import Head, head_of


@pytest.fixture
async def behaviour() -> Behaviour:
    behaviour = Behaviour()
    behaviour.unary("Echo", echo)
    return behaviour


def head(behaviour: Behaviour, *fields: tuple[str, str], **pseudo: str) -> Head:
    method, path = pseudo.get("method", "POST"), pseudo.get("path", "/test.Fake/Echo")
    begin = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "here")]
    content_type = pseudo.get("content_type", "application/grpc")
    everything = [*begin, ("content-type", content_type), ("te", "trailers"), *fields]
    return head_of([Field(name, value) for name, value in everything], behaviour.as_methods)


async def test_a_plain_call_has_a_method_and_nothing_else(behaviour: Behaviour) -> None:
    plain = head(behaviour)
    assert plain.method is behaviour.as_methods["test.Fake/Echo"]
    assert (plain.refusal, plain.metadata, plain.timeout, plain.encoding, plain.length) == (
        b"",
        {},
        None,
        "identity",
        -1,
    )


async def test_metadata_is_what_is_neither_the_transports_nor_binary(behaviour: Behaviour) -> None:
    found = head(
        behaviour,
        ("x-turnout-unit", "first"),
        ("user-agent", "me"),
        ("x-key-bin", "AAAA"),
        ("grpc-timeout", "1S"),
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip"),
        ("content-length", "5"),
        ("x-turnout-unit", "last"),
    )
    assert found.metadata == {"x-turnout-unit": "last", "user-agent": "me"}
    assert (found.encoding, found.length, found.timeout) == ("gzip", 5, 1.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2H", 7200.0),
        ("3M", 180.0),
        ("4S", 4.0),
        ("5m", 0.005),
        ("6u", 6e-6),
        ("7n", 7e-9),
        ("0S", 0.0),
        ("00000001S", 1.0),
        ("99999999H", 99_999_999 * 3600.0),
    ],
)
async def test_timeouts_have_six_units(behaviour: Behaviour, text: str, seconds: float) -> None:
    found = head(behaviour, ("grpc-timeout", text))
    assert found.timeout == pytest.approx(seconds)
    assert found.refusal == b""


@pytest.mark.parametrize("text", ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "1S ", "+1S", "\u0661S", "1SS"])
async def test_what_is_no_timeout_is_refused(behaviour: Behaviour, text: str) -> None:
    assert head(behaviour, ("grpc-timeout", text)).refusal == answers.BAD_TIMEOUT


@given(st.integers(0, 99_999_999), st.sampled_from("HMSmun"))
def test_every_timeout_of_the_protocol_is_understood(number: int, unit: str) -> None:
    fields = [(":method", "POST"), (":scheme", "http"), (":path", "/a/b"), ("grpc-timeout", f"{number}{unit}")]
    found = head_of([Field(*field) for field in fields], {})
    assert found.timeout is not None
    assert found.timeout >= 0


@pytest.mark.parametrize(
    "content_type",
    ["application/grpc", "application/grpc+proto", "application/grpc+json", "application/grpc;charset=x"],
)
async def test_every_kind_of_grpc_is_taken(behaviour: Behaviour, content_type: str) -> None:
    assert head(behaviour, content_type=content_type).refusal == b""


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "application/grpc-web", "application/grpcx", "text/x"]
)
async def test_other_content_types_are_refused_as_http_has_it(behaviour: Behaviour, content_type: str) -> None:
    assert head(behaviour, content_type=content_type).refusal == answers.NOT_GRPC


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "post"])
async def test_other_methods_than_post_are_refused(behaviour: Behaviour, method: str) -> None:
    assert head(behaviour, method=method).refusal == answers.NOT_POST


@pytest.mark.parametrize("path", ["/", "/test.Fake", "/test.Fake/", "/test.Fake/Echo/", "//test.Fake/Echo", "/x/Echo"])
async def test_an_unknown_path_is_an_unknown_method(behaviour: Behaviour, path: str) -> None:
    found = head(behaviour, path=path)
    assert found.method is None
    assert found.refusal == answers.UNKNOWN_METHOD


@pytest.mark.parametrize("encoding", ["snappy", "br", "", "GZIP"])
async def test_an_unknown_encoding_is_refused(behaviour: Behaviour, encoding: str) -> None:
    assert head(behaviour, ("grpc-encoding", encoding)).refusal == answers.UNKNOWN_ENCODING


async def test_a_malformed_request_is_no_head_at_all(behaviour: Behaviour) -> None:
    with pytest.raises(StreamFailure):
        head(behaviour, ("connection", "close"))
