"""Traces and metrics reach a real OTLP receiver, and nothing is sent where none is named."""

from __future__ import annotations

import io
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from opentelemetry.trace import Span

from tests.records import record, refused
from turnout_server.config import TelemetryConfig
from turnout_server.execution.batch_run import Execution
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.instruments import Instruments
from turnout_server.scheduling.item import Item
from turnout_server.serving.state import State, VersionStatus
from turnout_server.telemetry import otlp, telemetry
from turnout_server.telemetry.logs import logging_to_stderr
from turnout_server.telemetry.otlp import exporting
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import ConfigurationError
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.versions import VersionKey

METHOD = "inference.GRPCInferenceService/ModelInfer"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE_ID}-{CALLER}-01", "tracestate": "vendor=1"}
DECISION = Decision("price", "canary", "price", 4, Reason.SPLIT, "canary")
Attributes = Callable[[Any], dict[str, Any]]


def config(endpoint: str | None = None, ratio: float | None = None) -> TelemetryConfig:
    return TelemetryConfig(metrics=None, otlp_endpoint=endpoint, sample_ratio=ratio)


def run_of(requests: Sequence[Span], started_ns: int) -> Execution:
    """Return the run of a batch of *requests*, which took 30 µs."""
    contexts = [span.get_span_context() if span.is_recording() else None for span in requests]
    items = [Item({}, (), 1, 0, None, lambda *answer: None, span=context) for context in contexts]
    return Execution(items, started_ns, 0, 30_000, 0, [], None)


def call(spans: Spans, metadata: dict[str, str], code: str = "OK", reason: str = "") -> None:
    """Have a call of 8 rows wait for 2 µs and run for 30."""
    span = spans.start(METHOD, metadata)
    started_ns = time.monotonic_ns()
    spans.batch_ran(run_of([span], started_ns), 8)
    spans.read(record(DECISION, request_id="r1", timing=Timing(2_000, 0, 30_000, 0, 8, started_ns)), span)
    spans.end(span, code, reason)


def test_a_callers_trace_is_continued(collector: Any, attributes: Attributes) -> None:
    with exporting(config(collector.url), Instruments(), "1.2.3") as spans:
        call(spans, SAMPLED)
    span = collector.spans[METHOD]
    assert span.trace_id.hex() == TRACE_ID
    assert span.parent_span_id.hex() == CALLER
    assert span.trace_state == "vendor=1"
    assert span.kind == span.SPAN_KIND_SERVER
    assert span.status.code == span.status.STATUS_CODE_UNSET
    assert attributes(span.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "OK",
        "turnout.route": "price",
        "turnout.target": "canary",
        "turnout.assigned_target": "canary",
        "turnout.request.id": "r1",
        "turnout.reason": "SPLIT",
        "turnout.model.name": "price",
        "turnout.model.version": 4,
        "turnout.batch.rows": 8,
    }


def test_a_span_says_its_routes_experiment(collector: Any, attributes: Attributes) -> None:
    with exporting(config(collector.url), Instruments()) as spans:
        span = spans.start(METHOD, SAMPLED)
        spans.read(record(DECISION._replace(experiment="trial", enrolled=True)), span)
        spans.end(span, "OK", "")
    assert attributes(collector.spans[METHOD].attributes)["turnout.experiment"] == "trial"


def test_queue_and_run_are_children_that_meet(collector: Any, attributes: Attributes) -> None:
    with exporting(config(collector.url), Instruments()) as spans:
        call(spans, SAMPLED)
    request, queue, run = (collector.spans[name] for name in (METHOD, "turnout.queue", "turnout.run"))
    assert {queue.parent_span_id, run.parent_span_id} == {request.span_id}
    assert queue.end_time_unix_nano - queue.start_time_unix_nano == 2_000
    assert run.end_time_unix_nano - run.start_time_unix_nano == 30_000
    # The two clocks are read anew for each span, so they meet to within what that takes.
    assert abs(run.start_time_unix_nano - queue.end_time_unix_nano) < 1_000_000_000
    assert attributes(run.attributes) == {"turnout.batch.rows": 8}
    assert [link.span_id for link in run.links] == [request.span_id]


def test_a_batchs_run_links_to_every_request_in_it(collector: Any) -> None:
    with exporting(config(collector.url), Instruments()) as spans:
        requests = [spans.start(f"a.B/{index}", {}) for index in range(3)]
        spans.batch_ran(run_of(requests, time.monotonic_ns()), 3)
        for span in requests:
            spans.end(span, "OK")
    run = collector.spans["turnout.run"]
    ids = [collector.spans[f"a.B/{index}"].span_id for index in range(3)]
    assert run.parent_span_id == ids[0]
    assert [link.span_id for link in run.links] == ids


@pytest.mark.parametrize(("code", "is_error"), [("INTERNAL", True), ("UNAVAILABLE", True), ("NOT_FOUND", False)])
def test_only_the_servers_faults_make_a_span_an_error(
    collector: Any, attributes: Attributes, code: str, is_error: bool
) -> None:
    with exporting(config(collector.url), Instruments()) as spans:
        call(spans, {}, code, "SOME_REASON")
    span = collector.spans[METHOD]
    assert (span.status.code == span.status.STATUS_CODE_ERROR) == is_error
    found = attributes(span.attributes)
    assert found["rpc.response.status_code"] == code
    assert found["turnout.error.reason"] == "SOME_REASON"
    assert found.get("error.type") == (code if is_error else None)


def test_a_caller_that_does_not_sample_settles_it(collector: Any) -> None:
    with exporting(config(collector.url), Instruments()) as spans:
        call(spans, {"traceparent": f"00-{TRACE_ID}-{CALLER}-00"})
    assert collector.traces == []


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_ratio_settles_new_traces_and_no_others(collector: Any, ratio: float) -> None:
    with exporting(config(collector.url, ratio), Instruments()) as spans:
        call(spans, {})
        call(spans, SAMPLED)
    names = [len(scope.spans) for each in collector.traces for one in each.resource_spans for scope in one.scope_spans]
    assert sum(names) == (6 if ratio else 3)


def test_a_sampler_that_ignores_callers_is_obeyed(collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    with exporting(config(collector.url), Instruments()) as spans:
        call(spans, {"traceparent": f"00-{TRACE_ID}-{CALLER}-00"})
    assert collector.spans[METHOD].trace_id.hex() == TRACE_ID


def test_the_standards_variables_are_obeyed(
    collector: Any, attributes: Attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=ranking")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "turnout-eu")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=overruled")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    with exporting(config(), Instruments(), "1.2.3") as spans:
        call(spans, {})
    assert collector.metadata[0]["x-team"] == "ranking"
    assert collector.resource["service.name"] == "turnout-eu"
    assert collector.resource["service.version"] == "1.2.3"
    assert collector.resource["deployment.environment.name"] == "test"
    assert collector.resource["service.instance.id"]
    assert collector.exports == []


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "COLLECTOR", "OTEL_SDK_DISABLED": "true"},
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "COLLECTOR",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
        },
        {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_TRACES_EXPORTER": "console"},
    ],
)
def test_without_a_collector_nothing_is_set_up_and_nothing_complains(
    variables: dict[str, str], collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("COLLECTOR", collector.url))
    log = io.StringIO()
    with logging_to_stderr("debug", "json", log):
        threads = set(threading.enumerate())
        with exporting(config(), Instruments()) as spans:
            assert not spans.enabled
            assert set(threading.enumerate()) <= threads
            call(spans, SAMPLED)
    assert log.getvalue() == ""
    assert collector.traces == collector.exports == []


@pytest.mark.parametrize(("signal", "other"), [("TRACES", "exports"), ("METRICS", "traces")])
def test_a_signal_may_have_its_own_collector(
    signal: str, other: str, collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", collector.url)
    with exporting(config(), Instruments()) as spans:
        call(spans, SAMPLED)
    assert len(collector.traces) + len(collector.exports) == 1
    assert getattr(collector, other) == []


def test_a_variable_that_cannot_be_used_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "zip")
    with (
        pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_COMPRESSION"),
        exporting(config("http://127.0.0.1:4317"), Instruments()),
    ):
        pass


def test_metrics_arrive_as_they_were_counted(collector: Any, attributes: Attributes) -> None:
    instruments = Instruments()
    with exporting(config(collector.url), instruments):
        for took_ns in (90_000, 100_000, 100_001, 20_000_000_000):
            instruments.read(record(DECISION, "OK", took_ns))
        instruments.read(refused("", "ROUTE_NOT_FOUND"))
        instruments.record_rpc(METHOD, "OK", 1_000_000)
        instruments.record_state(VersionStatus(VersionKey("price", 4), State.AVAILABLE))
        instruments.in_flight = 2
    metrics = collector.metrics
    requests = metrics["turnout.requests"].sum
    assert requests.is_monotonic
    assert requests.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    assert {attributes(point.attributes)["turnout.code"]: point.as_int for point in requests.data_points} == {
        "OK": 4,
        "ROUTE_NOT_FOUND": 1,
    }
    (duration,) = metrics["turnout.request.duration"].histogram.data_points
    assert metrics["turnout.request.duration"].unit == "s"
    assert duration.count == 4
    assert list(duration.bucket_counts) == [2, 1, *[0] * 14, 1]
    assert list(duration.explicit_bounds)[:2] == [0.0001, 0.00025]
    assert duration.sum == pytest.approx(20.000290001)
    assert not duration.HasField("min")
    assert duration.time_unix_nano >= duration.start_time_unix_nano > 0
    (rpc,) = metrics["rpc.server.call.duration"].histogram.data_points
    assert attributes(rpc.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "OK",
    }
    (state,) = metrics["turnout.model.state"].gauge.data_points
    assert attributes(state.attributes)["turnout.model.state"] == "AVAILABLE"
    assert metrics["turnout.requests.in_flight"].gauge.data_points[0].as_int == 2
    assert metrics["process.memory.usage"].sum.data_points[0].as_double > 1_000_000
    assert "turnout.mirrors" not in metrics  # nothing was counted


@pytest.mark.parametrize("silent", [False, True])
def test_a_collector_that_is_down_costs_a_few_log_lines_and_no_hang(
    silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "CLOSING_S", 0.3)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    log = io.StringIO()
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))  # connections are refused
        if silent:
            port.listen()  # connections are made and never answered
        url = f"http://127.0.0.1:{port.getsockname()[1]}"
        with logging_to_stderr("info", "json", log), exporting(config(url), Instruments()) as spans:
            for _ in range(5):
                call(spans, {})
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    loggers = [line["logger"] for line in lines]
    assert len(loggers) == len(set(loggers))
    assert lines[-1]["event"] == "the collector did not answer; the last traces and metrics are lost"
    assert not logging.getLogger(otlp._EXPORTER_LOGGER).disabled


def test_everything_is_set_up_together(collector: Any) -> None:
    everything = TelemetryConfig(metrics="127.0.0.1:0", otlp_endpoint=collector.url)
    with telemetry(everything, "1.2.3") as set_up:
        assert set_up.metrics_address is not None
        assert set_up.metrics_address.rpartition(":")[2] != "0"
        call(set_up.spans, {})
        set_up.instruments.read(record(DECISION, "OK", 1))
    assert METHOD in collector.spans
    assert "turnout.requests" in collector.metrics
