"""Which requests are malformed, and what the others say."""

from __future__ import annotations

import pytest

from turnout_server.http2.codes import ErrorCode, StreamFailure
from turnout_server.http2.fields import MALFORMED, Field
from turnout_server.http2.requests import Request, check_trailers, request_of

PSEUDO = [Field(":method", "POST"), Field(":scheme", "http"), Field(":path", "/a.B/C")]


def test_a_request_is_its_fields() -> None:
    fields = [*PSEUDO, Field(":authority", "here"), Field("te", "trailers"), Field("x", "1"), Field("x", "2")]
    assert request_of(fields) == Request("POST", "/a.B/C", {"te": "trailers", "x": "2"}, -1)
    assert request_of([*PSEUDO, Field("content-length", "12")]).length == 12


@pytest.mark.parametrize(
    "fields",
    [
        *(pytest.param(PSEUDO[:at] + PSEUDO[at + 1 :], id=f"no {PSEUDO[at].name}") for at in range(3)),
        pytest.param([*PSEUDO[:2], Field(":path", "")], id="an empty path"),
        pytest.param([*PSEUDO, PSEUDO[0]], id="a pseudo-field twice"),
        pytest.param([Field("x", "1"), *PSEUDO], id="a pseudo-field after a field"),
        pytest.param([*PSEUDO, Field(":status", "200")], id="an answer's pseudo-field"),
        pytest.param([*PSEUDO, Field(":mood", "good")], id="an unknown pseudo-field"),
        pytest.param([Field(":method", "CONNECT"), Field(":authority", "there")], id="CONNECT"),
        pytest.param([*PSEUDO, MALFORMED], id="a malformed field"),
        pytest.param([*PSEUDO, Field("connection", "close")], id="connection"),
        pytest.param([*PSEUDO, Field("transfer-encoding", "chunked")], id="transfer-encoding"),
        pytest.param([*PSEUDO, Field("te", "gzip")], id="te"),
        *(
            pytest.param([*PSEUDO, Field("content-length", text)], id=f"content-length {text!r}")
            for text in ("", "-1", "+1", "1.0", "1_0", "²", "٣", "9" * 19)
        ),
    ],
)
def test_a_malformed_request_fails_its_stream(fields: list[Field]) -> None:
    with pytest.raises(StreamFailure) as caught:
        request_of(fields)
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR


def test_trailers_are_fields() -> None:
    check_trailers([])
    check_trailers([Field("x", "1")])


@pytest.mark.parametrize("fields", [[MALFORMED], [Field("x", "1"), Field(":path", "/")]])
def test_malformed_trailers_fail_their_stream(fields: list[Field]) -> None:
    with pytest.raises(StreamFailure) as caught:
        check_trailers(fields)
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR


def test_trailers_beyond_the_limit_fail_their_stream() -> None:
    with pytest.raises(StreamFailure) as caught:
        check_trailers(None)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
