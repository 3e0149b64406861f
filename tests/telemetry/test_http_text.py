"""HTTP/1.1 is read as clients write it, and whatever else comes is no request."""

from __future__ import annotations

import pytest

from turnout_server.telemetry.http_text import NOTHING, Answer, parsed, plain, text_of


def test_a_head_is_a_path_a_query_and_fields_without_case() -> None:
    asked = parsed(b"GET /metrics?name=a HTTP/1.1\r\nHost: here\r\nACCEPT:  text/plain ")
    assert asked.request is not None
    assert (asked.method, asked.request.path, asked.request.query) == ("GET", "/metrics", "name=a")
    assert asked.request.headers == {"host": "here", "accept": "text/plain"}


@pytest.mark.parametrize("head", [b"", b"GET /", b"GET / HTTP/2.0", b"GET / a HTTP/1.1", b"\0\xff"])
def test_what_is_no_request_is_nothing(head: bytes) -> None:
    assert parsed(head) == NOTHING


@pytest.mark.parametrize(
    ("version", "wish", "is_last"),
    [("1.1", "", False), ("1.1", "Close", True), ("1.0", "", True), ("1.0", "Keep-Alive", False)],
)
def test_a_connection_is_kept_as_its_version_has_it_or_the_client_wants(version: str, wish: str, is_last: bool) -> None:
    assert parsed(f"GET / HTTP/{version}\r\nConnection: {wish}".encode()).is_last == is_last


def test_an_answer_says_how_long_it_is_also_without_its_body() -> None:
    answer = Answer("200 OK", (("Content-Type", "a/b"),), b"four")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 4\r\n"
    assert text_of(answer, is_last=False, head_only=False) == head + b"\r\nfour"
    assert text_of(answer, is_last=True, head_only=True) == head + b"Connection: close\r\n\r\n"


def test_a_plain_answer_says_its_status() -> None:
    assert plain("404 Not Found").body == b"404 Not Found\n"
