"""What is scraped is what was counted."""

from __future__ import annotations

import gzip
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests import records
from tests.gateway.world import count_run
from tests.instruments.test_journal import COUNTS
from tests.instruments.test_outcomes import OUTCOMES
from tests.records import record
from turnout_server.instruments.families import Kind
from turnout_server.instruments.instruments import REQUEST_BOUNDS_NS, Instruments
from turnout_server.instruments.journal import JournalInstruments
from turnout_server.instruments.outcomes import OutcomeInstruments
from turnout_server.instruments.shadow import ShadowInstruments
from turnout_server.serving.state import State, VersionStatus
from turnout_server.telemetry.prometheus import registry, serving_metrics
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import ConfigurationError
from turnout_server.vocabulary.versions import VersionKey

DECISION = Decision("price", "canary", "price", 4, Reason.SPLIT)
LABELS = {"route": "price", "target": "canary", "model": "price", "version": "4"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(instruments: Instruments) -> Samples:
    return read(generate_latest(registry(instruments, "1.2.3")).decode())


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


@pytest.fixture
def instruments() -> Instruments:
    return Instruments()


@pytest.fixture
def url(instruments: Instruments) -> Iterator[str]:
    with serving_metrics("127.0.0.1:0", instruments, "1.2.3") as address:
        yield f"http://{address}"


def get(url: str, **headers: str) -> tuple[bytes, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with urllib.request.urlopen(urllib.request.Request(url, headers=named), timeout=10) as answer:
        return answer.read(), answer.headers["Content-Type"]


def test_every_kind_of_count_is_there(instruments: Instruments) -> None:
    instruments.read(record(DECISION, "OK", 1_000_000))
    instruments.read(record(DECISION, "QUEUE_FULL", 2_000_000))
    instruments.read(record(DECISION._replace(reason=Reason.FALLBACK), "OK", 3_000_000))
    instruments.read(records.refused("price", "VERSION_UNAVAILABLE"))
    count_run(instruments.runs_of("price", 4), 5_000, 40_000, 16)
    instruments.record_mirror("price", "price", "7", "dropped")
    instruments.record_rpc("a.B/C", "NOT_FOUND", 1)
    instruments.record_state(VersionStatus(VersionKey("price", 4), State.LOADING))
    instruments.record_state(VersionStatus(VersionKey("price", 4), State.FAILED, "digest"))
    instruments.record_reload("refused")
    instruments.in_flight = 3
    samples = scraped(instruments)

    def of(name: str, **labels: str) -> float | None:
        return value(samples, name, **labels)

    assert of("turnout_requests_total", **LABELS, reason="SPLIT", code="OK") == 1
    assert of("turnout_requests_total", **LABELS, reason="SPLIT", code="QUEUE_FULL") == 1
    assert of("turnout_requests_total", **LABELS, reason="FALLBACK", code="OK") == 1
    refused = {"target": "", "model": "", "version": "", "reason": ""}
    assert of("turnout_requests_total", **refused, route="price", code="VERSION_UNAVAILABLE") == 1
    assert of("turnout_request_duration_seconds_count", **LABELS) == 3
    assert of("turnout_request_duration_seconds_sum", **LABELS) == 0.006
    assert of("turnout_request_duration_seconds_bucket", **LABELS, le="0.001") == 1
    assert of("turnout_request_duration_seconds_bucket", **LABELS, le="0.0025") == 2
    assert of("turnout_queue_duration_seconds_sum", model="price", version="4") == 0.000005
    assert of("turnout_run_duration_seconds_sum", model="price", version="4") == 0.00004
    assert of("turnout_batch_rows_bucket", model="price", version="4", le="16.0") == 1
    assert of("turnout_batch_rows_bucket", model="price", version="4", le="8.0") == 0
    assert of("turnout_mirrors_total", route="price", model="price", version="7", outcome="dropped") == 1
    assert of("turnout_rpc_duration_seconds_count", method="a.B/C", code="NOT_FOUND") == 1
    assert of("turnout_model_state", model="price", version="4", state="FAILED") == 1
    assert of("turnout_model_state", model="price", version="4", state="LOADING") is None
    assert of("turnout_model_loads_total", model="price", outcome="failed") == 1
    assert of("turnout_route_table_reloads_total", outcome="refused") == 1
    assert of("turnout_requests_in_flight") == 3
    assert any(name == "turnout_build_info" and ("version", "1.2.3") in labels for name, labels in samples)
    assert (of("process_resident_memory_bytes") or 0) > 1_000_000


@given(st.lists(st.integers(0, 20_000_000_000)))
def test_buckets_add_up(durations_ns: list[int]) -> None:
    instruments = Instruments()
    for took_ns in durations_ns:
        instruments.read(record(DECISION, "OK", took_ns))
    samples = scraped(instruments)
    for bound_ns in REQUEST_BOUNDS_NS if durations_ns else ():
        counted = value(samples, "turnout_request_duration_seconds_bucket", **LABELS, le=str(bound_ns / 1e9))
        assert counted == sum(took_ns <= bound_ns for took_ns in durations_ns)
    name = "turnout_request_duration_seconds"
    total = len(durations_ns) or None
    assert value(samples, f"{name}_bucket", **LABELS, le="+Inf") == total
    assert value(samples, f"{name}_count", **LABELS) == total
    assert (value(samples, f"{name}_sum", **LABELS) or 0) == pytest.approx(sum(durations_ns) / 1e9)


def test_every_metric_is_documented(instruments: Instruments) -> None:
    page = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text(encoding="utf-8")
    for family in (
        *instruments.families(),
        *ShadowInstruments().families(),
        *JournalInstruments(lambda: COUNTS).families(),
        *OutcomeInstruments(lambda: OUTCOMES).families(),
    ):
        suffix = "_total" if family.kind is Kind.COUNTER else ""
        labels = ", ".join(label.name for label in family.labels)
        row = next((row for row in page.splitlines() if row.startswith(f"| `{family.prometheus}{suffix}` |")), "")
        assert f"`{family.name}`" in row, family.prometheus
        assert labels in row, family.prometheus


def test_it_is_served_over_http(url: str, instruments: Instruments) -> None:
    instruments.read(record(DECISION, "OK", 1))
    body, kind = get(f"{url}/metrics")
    assert kind.startswith("text/plain")
    assert value(read(body.decode()), "turnout_requests_total", **LABELS, reason="SPLIT", code="OK") == 1


def test_openmetrics_and_gzip_are_there_for_the_asking(url: str, instruments: Instruments) -> None:
    instruments.read(record(DECISION, "OK", 1))
    body, kind = get(f"{url}/metrics", Accept="application/openmetrics-text; version=1.0.0", Accept_Encoding="gzip")
    assert kind.startswith("application/openmetrics-text")
    families = {family.name for family in openmetrics.text_string_to_metric_families(gzip.decompress(body).decode())}
    assert {"turnout_requests", "turnout_request_duration_seconds", "turnout_build"} <= families


def test_health_is_served_beside_it(url: str) -> None:
    assert get(f"{url}/healthz")[0] == b"ok\n"


@pytest.mark.parametrize("path", ["/", "/metrics/", "/favicon.ico", "/metrics2"])
def test_other_paths_are_not_found(url: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        get(url + path)
    assert refusal.value.code == 404
    refusal.value.close()


def test_a_client_that_hangs_up_hurts_nobody(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as rude:
        rude.sendall(b"GET /metrics HTTP/1.1\r\nHos")
    with socket.create_connection((host, int(port))) as rude:
        rude.sendall(b"\x00\xff\r\n\r\n")
    assert get(f"{url}/healthz")[0] == b"ok\n"
    assert "Traceback" not in capfd.readouterr().err


def test_an_address_in_use_is_one_clear_error(url: str, instruments: Instruments) -> None:
    address = url.removeprefix("http://")
    with pytest.raises(ConfigurationError) as refusal, serving_metrics(address, instruments):
        pass
    assert refusal.value.message == f"metrics: cannot listen on {address}: Address already in use"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:http", ":9464", "127.0.0.1:70000"])
def test_a_malformed_address_is_one_clear_error(address: str, instruments: Instruments) -> None:
    with pytest.raises(ConfigurationError, match="metrics: found"), serving_metrics(address, instruments):
        pass


def test_a_host_that_does_not_exist_is_one_clear_error(instruments: Instruments) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"metrics: cannot listen on nowhere\.invalid:9464: .+"),
        serving_metrics("nowhere.invalid:9464", instruments),
    ):
        pass


def test_the_port_is_free_again_afterwards(instruments: Instruments) -> None:
    with serving_metrics("127.0.0.1:0", instruments) as address:
        pass
    with serving_metrics(address, instruments) as again:
        assert again == address


def test_ipv6_addresses_stand_in_brackets(instruments: Instruments) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        with serving_metrics("[::1]:0", instruments) as address:
            assert address.startswith("[::1]:")
            assert get(f"http://{address}/healthz")[0] == b"ok\n"
    except ConfigurationError as error:
        pytest.skip(str(error))
