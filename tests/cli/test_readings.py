"""The metrics port's text, as values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from turnout_server.cli.readings import Served, UnreadableError, Version, address, fetch, parse
from turnout_server.vocabulary.errors import ConfigurationError

TEXT = r"""# HELP turnout_requests_total Requests
turnout_build_info{python="3.11.7",version="0.1.0"} 1.0
turnout_requests_total{code="OK",model="price",reason="SPLIT",route="price",target="canary",version="2"} 85.0
turnout_requests_total{code="OK",model="price",reason="OVERRIDE",route="price",target="canary",version="2"} 5.0
turnout_requests_total{code="QUEUE_FULL",model="price",reason="SPLIT",route="price",target="canary",version="2"} 3.0
turnout_requests_total{code="ROUTE_NOT_FOUND",model="",reason="",route="",target="",version=""} 1.0
turnout_request_duration_seconds_bucket{le="0.01",model="price",route="price",target="canary",version="2"} 7.0
turnout_request_duration_seconds_bucket{le="+Inf",model="price",route="price",target="canary",version="2"} 93.0
turnout_request_duration_seconds_bucket{le="0.001",model="price",route="price",target="canary",version="2"} 4.0
turnout_requests_in_flight 3.0
turnout_queue_duration_seconds_bucket{le="+Inf",model="price",version="2"} 2.0
turnout_queue_rows{model="price",version="2"} 12.0
turnout_model_state{model="price",state="AVAILABLE",version="2"} 1.0
turnout_model_loads_total{model="a\"b\\c\nd",outcome="failed"} 1.0
process_start_time_seconds 1.7e+09
process_cpu_seconds_total 2.5
process_resident_memory_bytes 1e+08
turnout_queue_rows{model="price",version="3"} what
something_else{x="y"} 1.0
"""


def test_a_scrape_is_values() -> None:
    reading = parse(TEXT, 5.0)
    canary = Served("price", "canary", "price", "2")
    assert reading.requests == {
        canary: {"OK": 90.0, "QUEUE_FULL": 3.0},
        Served("", "", "", ""): {"ROUTE_NOT_FOUND": 1.0},
    }
    assert reading.durations == {canary: ((0.001, 4.0), (0.01, 7.0), (float("inf"), 93.0))}
    two = Version("price", "2")
    assert (reading.waits[two], reading.queue_rows, reading.states) == (
        ((float("inf"), 2.0),),
        {two: 12.0},
        {two: "AVAILABLE"},
    )
    assert reading.loads == {('a"b\\c\nd', "failed"): 1.0}
    assert (reading.at, reading.started, reading.release) == (5.0, 1.7e9, "0.1.0")
    assert (reading.cpu_s, reading.memory, reading.in_flight) == (2.5, 1e8, 3.0)


def test_nothing_is_a_reading_too() -> None:
    assert parse("", 1.0).requests == {}


@pytest.mark.parametrize("text", ["127.0.0.1:9464", "http://127.0.0.1:9464/metrics", "http://127.0.0.1:9464"])
def test_an_address_may_be_a_url(text: str) -> None:
    assert address(text) == ("127.0.0.1", 9464)


@pytest.mark.parametrize("text", ["https://127.0.0.1:9464", "9464", "http://127.0.0.1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="metrics"):
        address(text)


Serve = Callable[[int, bytes], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer every request with this status and body, at the port that is returned."""
    servers: list[HTTPServer] = []

    def started(status: int, body: bytes) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=[0.01], daemon=True).start()
        return int(servers[-1].server_port)

    yield started
    for one in servers:
        one.shutdown()
        one.server_close()


def test_a_gateway_is_read(serve: Serve) -> None:
    assert fetch("127.0.0.1", serve(200, TEXT.encode())) == TEXT


@pytest.mark.parametrize(
    ("status", "body", "problem"), [(404, b"", "answers 404"), (200, b"<html>", "is no gateway's metrics")]
)
def test_what_is_no_gateway_is_called_that(serve: Serve, status: int, body: bytes, problem: str) -> None:
    with pytest.raises(UnreadableError, match=problem):
        fetch("127.0.0.1", serve(status, body))


def test_nobody_there_is_said() -> None:
    with pytest.raises(UnreadableError, match=r"cannot read http://127.0.0.1:9/metrics: Connection refused"):
        fetch("127.0.0.1", 9)
