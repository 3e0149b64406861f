"""What a gateway tells of itself: spans to a collector, numbers to Prometheus, lines to its log."""

from __future__ import annotations

import collections
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import turnout
from tests.e2e.collector import Collector, attributes, collecting
from tests.e2e.conftest import Gateway, StartGateway
from tests.e2e.probes import connected, eventually, fp32, metrics, records, serving, stream, unary

STREAM = "inference.GRPCInferenceService/ModelStreamInfer"
Labels = tuple[str, ...]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def traced(collector: Collector, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that exports, often."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=tests",
    }
    with serving(tiny_store, tmp_path_factory.mktemp("traced") / "log", **environment) as gateway:
        yield gateway


@pytest.fixture
def client(traced: Gateway) -> Iterator[turnout.Client]:
    with turnout.Client(traced.address, retries=0) as client:
        yield client


class Caller:
    """Somebody with a trace of their own."""

    def __init__(self) -> None:
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.metadata = {"traceparent": f"00-{self.trace_id}-{self.span_id}-01"}


def whole(collector: Collector, trace_id: str, count: int) -> dict[str, Span]:
    """Return the spans of a trace by name once there are *count*; there are no more."""
    spans = eventually(lambda: len(found := collector.of_trace(trace_id)) >= count and found)
    assert isinstance(spans, list)
    assert len(spans) == count
    return {span.name: span for span in spans}


def of_stream(collector: Collector, trace_id: str, messages: int, runs_of: int) -> dict[str, list[Span]] | None:
    """Return a stream's spans by name once it and its *messages* have ended, *runs_of* of which have run."""
    named: dict[str, list[Span]] = collections.defaultdict(list)
    for span in collector.of_trace(trace_id):
        named[span.name].append(span)
    linked = sum(len(run.links) for run in named["turnout.run"])
    found = (len(named[STREAM]), len(named["turnout.message"]), len(named["turnout.queue"]), linked)
    return named if found == (1, messages, runs_of, runs_of) else None


# ---------------------------------------------------------------- traces


def test_a_call_continues_its_callers_trace(client: turnout.Client, collector: Collector) -> None:
    caller = Caller()
    context = SpanContext(int(caller.trace_id, 16), int(caller.span_id, 16), False, TraceFlags(1))
    with trace.use_span(NonRecordingSpan(context)):
        client.predict_price("price", {"carat": 1}, unit="vip")
    server = whole(collector, caller.trace_id, 3)["turnout.v1.PricingService/PredictPrice"]
    assert server.parent_span_id.hex() == caller.span_id
    assert server.kind == Span.SPAN_KIND_SERVER


def test_a_calls_span_says_who_answered_and_why(client: turnout.Client, collector: Collector) -> None:
    caller = Caller()
    client.predict_price("price", {"carat": 1}, unit="vip", metadata=caller.metadata)
    server = whole(collector, caller.trace_id, 3)["turnout.v1.PricingService/PredictPrice"]
    found = attributes(server)
    assert found.pop("turnout.request.id")
    assert found == {
        "rpc.system.name": "grpc",
        "rpc.method": "turnout.v1.PricingService/PredictPrice",
        "rpc.response.status_code": "OK",
        "turnout.route": "price",
        "turnout.target": "control",
        "turnout.assigned_target": "control",
        "turnout.reason": "OVERRIDE",
        "turnout.model.name": "price",
        "turnout.model.version": 1,
        "turnout.batch.rows": 1,
    }
    assert server.status.code == Status.STATUS_CODE_UNSET


def test_queue_and_run_are_children_in_order(client: turnout.Client, collector: Collector) -> None:
    caller = Caller()
    client.predict_prices("price", columns={"carat": [1, 2, 3]}, version=1, metadata=caller.metadata)
    spans = whole(collector, caller.trace_id, 3)
    server, queue, run = (
        spans[name] for name in ("turnout.v1.PricingService/PredictPrice", "turnout.queue", "turnout.run")
    )
    assert queue.parent_span_id == run.parent_span_id == server.span_id
    # Their clocks are read apart, so what follows holds to a millisecond.
    slack = 1_000_000
    assert server.start_time_unix_nano <= queue.start_time_unix_nano + slack
    assert abs(queue.end_time_unix_nano - run.start_time_unix_nano) <= slack
    assert run.start_time_unix_nano < run.end_time_unix_nano <= server.end_time_unix_nano + slack
    assert attributes(run)["turnout.batch.rows"] == 3
    assert [link.span_id for link in run.links] == [server.span_id]


def test_a_calls_span_says_its_routes_experiment_whichever_plane_answers_it(
    store: Path, start_gateway: StartGateway, collector: Collector
) -> None:
    routes = store / "routes.yaml"
    trial = "    fallback: control\n    experiment: {name: trial, control: control}\n"
    routes.write_text(routes.read_text().replace("    fallback: control\n", trial))
    gateway = start_gateway(
        store, env={"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    )
    found = {}
    with turnout.Client(gateway.address) as client:
        for unit in ("anna", ""):
            caller = Caller()
            client.predict_price("price", {"carat": 1}, unit=unit, metadata=caller.metadata)
            server = whole(collector, caller.trace_id, 3)["turnout.v1.PricingService/PredictPrice"]
            found[unit] = attributes(server)
    assert {unit: said["turnout.experiment"] for unit, said in found.items()} == {"anna": "trial", "": "trial"}
    assert (found["anna"]["turnout.reason"], found[""]["turnout.reason"]) == ("SPLIT", "UNSTICKY")


def test_an_error_is_a_span_with_its_reason(client: turnout.Client, collector: Collector) -> None:
    caller = Caller()
    with pytest.raises(turnout.NotFoundError):
        client.predict_price("prices", {"carat": 1}, metadata=caller.metadata)
    (server,) = whole(collector, caller.trace_id, 1).values()
    found = attributes(server)
    assert (found["rpc.response.status_code"], found["turnout.error.reason"]) == ("NOT_FOUND", "ROUTE_NOT_FOUND")
    # The semantic conventions do not count a caller's mistake as a server's error.
    assert server.status.code == Status.STATUS_CODE_UNSET


def test_an_error_after_the_assignment_still_says_who_was_assigned(
    client: turnout.Client, collector: Collector
) -> None:
    caller = Caller()
    with pytest.raises(turnout.InvalidRequestError):
        client.predict_price("price", {"carot": 1}, unit="vip", metadata=caller.metadata)
    (server,) = whole(collector, caller.trace_id, 1).values()
    found = attributes(server)
    assert (found["turnout.target"], found["turnout.error.reason"]) == ("control", "FEATURE_UNKNOWN")


def test_a_call_of_the_open_inference_protocol_is_traced_alike(traced: Gateway, collector: Collector) -> None:
    caller = Caller()
    with connected(traced.address) as channel:
        call = stream(channel, "inference.GRPCInferenceService/ModelStreamInfer")
        asked = [fp32(1.0).SerializeToString() for _ in range(3)]
        assert len(list(call(iter(asked), metadata=list(caller.metadata.items()), timeout=30))) == 3
    spans = eventually(lambda: of_stream(collector, caller.trace_id, messages=3, runs_of=3))
    messages = {span.span_id for span in spans["turnout.message"]}
    assert collections.Counter(span.parent_span_id for span in spans["turnout.queue"]) == dict.fromkeys(messages, 1)
    # Messages that come at once may share a run: its span links to each of them.
    linked = collections.Counter(link.span_id for span in spans["turnout.run"] for link in span.links)
    assert linked == dict.fromkeys(messages, 1)


def test_a_message_of_a_stream_that_fails_shows_in_a_span_and_in_a_number(
    traced: Gateway, collector: Collector
) -> None:
    """The stream itself ends well: its status says nothing of it."""
    caller = Caller()
    before = by_labels(traced, "turnout_rpc_messages_total", ("method", "code"))
    with connected(traced.address) as channel:
        asked = [fp32(1.0), fp32(1.0, model="nothing"), fp32(1.0, id="x" * 2000), fp32(1.0)]
        call = stream(channel, STREAM)
        sent = iter([one.SerializeToString() for one in asked])
        assert len(list(call(sent, metadata=list(caller.metadata.items()), timeout=30))) == 4
    spans = eventually(lambda: of_stream(collector, caller.trace_id, messages=4, runs_of=2))
    (server,) = spans[STREAM]
    assert server.status.code == Status.STATUS_CODE_UNSET
    messages = spans["turnout.message"]
    assert {span.parent_span_id for span in messages} == {server.span_id}
    told = collections.Counter(
        (span.status.code, attributes(span)["rpc.response.status_code"], attributes(span).get("turnout.error.reason"))
        for span in messages
    )
    assert told == {
        (Status.STATUS_CODE_UNSET, "OK", None): 2,
        (Status.STATUS_CODE_ERROR, "NOT_FOUND", "ROUTE_NOT_FOUND"): 1,
        (Status.STATUS_CODE_ERROR, "INVALID_ARGUMENT", "REQUEST_INVALID"): 1,
    }
    after = by_labels(traced, "turnout_rpc_messages_total", ("method", "code"))
    grown = {labels[1]: after[labels] - before.get(labels, 0) for labels in after}
    assert {code: grown[code] for code in ("OK", "NOT_FOUND", "INVALID_ARGUMENT")} == {
        "OK": 2,
        "NOT_FOUND": 1,
        "INVALID_ARGUMENT": 1,
    }


def test_a_trace_that_its_caller_does_not_sample_is_not_sent(client: turnout.Client, collector: Collector) -> None:
    unsampled, after = Caller(), Caller()
    client.predict_price("price", {"carat": 1}, metadata={"traceparent": unsampled.metadata["traceparent"][:-1] + "0"})
    client.predict_price("price", {"carat": 1}, metadata=after.metadata)
    whole(collector, after.trace_id, 3)
    assert collector.of_trace(unsampled.trace_id) == []


@pytest.mark.parametrize("traceparent", ["", "00-0-0-0", "é", "ff" * 4000, f"00-{'0' * 32}-{'0' * 16}-01"])
def test_a_traceparent_that_is_nonsense_starts_a_new_trace(client: turnout.Client, traceparent: str) -> None:
    metadata = {"traceparent": traceparent if traceparent.isascii() else traceparent.encode().hex()}
    assert client.predict_price("price", {"carat": 1}, version=1, metadata=metadata).price == 1500


def test_the_resource_is_named(client: turnout.Client, collector: Collector) -> None:
    caller = Caller()
    client.predict_price("price", {"carat": 1}, metadata=caller.metadata)
    whole(collector, caller.trace_id, 3)
    resource = collector.resources[-1]
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("turnout", "tests")


def test_metrics_go_to_the_collector_too(traced: Gateway, collector: Collector) -> None:
    wanted = {"turnout.requests", "turnout.request.duration", "turnout.run.duration", "rpc.server.call.duration"}
    eventually(lambda: wanted <= collector.metric_names)


def test_an_inference_is_traced_whichever_plane_answers_it(traced: Gateway, collector: Collector) -> None:
    caller = Caller()
    method = "inference.GRPCInferenceService/ModelInfer"
    metadata = [*caller.metadata.items(), ("tracestate", "a=1, b=2"), ("x-request-id", "mine")]
    before = time.time_ns()
    with connected(traced.address) as channel:
        unary(channel, method)(fp32(1.0).SerializeToString(), metadata=metadata, timeout=30)
    after = time.time_ns()
    spans = whole(collector, caller.trace_id, 3)
    server, queue, run = (spans[name] for name in (method, "turnout.queue", "turnout.run"))
    assert (server.parent_span_id.hex(), server.kind, server.flags) == (caller.span_id, Span.SPAN_KIND_SERVER, 0x300)
    assert {span.trace_state for span in spans.values()} == {"a=1,b=2"}
    found = attributes(server)
    assert (found["turnout.request.id"], found["rpc.method"], found["turnout.batch.rows"]) == ("mine", method, 1)
    assert queue.parent_span_id == run.parent_span_id == server.span_id
    assert [link.span_id for link in run.links] == [server.span_id]
    slack = 1_000_000  # their clocks are read apart
    for span in spans.values():
        assert before - slack <= span.start_time_unix_nano <= span.end_time_unix_nano <= after + slack
    assert abs(queue.end_time_unix_nano - run.start_time_unix_nano) <= slack
    assert server.start_time_unix_nano <= queue.start_time_unix_nano + slack
    assert run.end_time_unix_nano <= server.end_time_unix_nano + slack


def test_inferences_are_traced_until_the_gateway_ends(
    tiny_store: Path, start_gateway: StartGateway, collector: Collector
) -> None:
    gateway = start_gateway(tiny_store, env={"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.address})
    callers = [Caller() for _ in range(40)]
    with connected(gateway.address) as channel:
        infer = unary(channel, "inference.GRPCInferenceService/ModelInfer")
        calls = [
            infer.future(fp32(1.0).SerializeToString(), metadata=list(caller.metadata.items()), timeout=30)
            for caller in callers
        ]
        for call in calls:
            call.result()
    assert not any(collector.of_trace(caller.trace_id) for caller in callers), "they wait for others"
    assert gateway.terminate() == 0
    spans = [span for caller in callers for span in collector.of_trace(caller.trace_id)]
    names = collections.Counter(span.name for span in spans)
    assert (names["inference.GRPCInferenceService/ModelInfer"], names["turnout.queue"]) == (40, 40)
    linked = [link.span_id for span in spans if span.name == "turnout.run" for link in span.links]
    servers = {span.span_id for span in spans if span.name not in ("turnout.queue", "turnout.run")}
    assert sorted(linked) == sorted(servers), "each has run once, in whatever batch"


# ---------------------------------------------------------------- metrics


def test_what_is_scraped_is_what_was_sent(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store)
    expected: collections.Counter[Labels] = collections.Counter()
    with turnout.Client(gateway.address, retries=0) as client:
        for number in range(60):
            served = client.predict_price("price", {"carat": 1}, unit=f"user-{number}").served
            expected[served.route, served.target, served.model, str(served.version), served.reason, "OK"] += 1
        for _ in range(3):
            served = client.rank("ranking", {"a": {"price": 1}}, version=2).served
            expected["", "", "ranking", "2", "PINNED", "OK"] += 1
        for _ in range(2):
            with pytest.raises(turnout.InvalidRequestError):
                client.predict_price("price", {"carot": 1}, unit="vip")
            expected["price", "control", "price", "1", "OVERRIDE", "FEATURE_UNKNOWN"] += 1
        for number in range(5):
            with pytest.raises(turnout.NotFoundError):
                client.predict_price(f"made-up-{number}", {"carat": 1})
            expected["", "", "", "", "", "ROUTE_NOT_FOUND"] += 1
    names = ("route", "target", "model", "version", "reason", "code")
    assert by_labels(gateway, "turnout_requests_total", names) == expected

    durations = by_labels(gateway, "turnout_request_duration_seconds_count", names[:4])
    answered: collections.Counter[Labels] = collections.Counter()
    for labels, count in expected.items():
        if labels[2]:
            answered[labels[:4]] += count
    assert durations == answered

    calls = by_labels(gateway, "turnout_rpc_duration_seconds_count", ("method", "code"))
    assert calls["turnout.v1.PricingService/PredictPrice", "OK"] == 60
    assert calls["turnout.v1.PricingService/PredictPrice", "NOT_FOUND"] == 5
    assert calls["turnout.v1.PricingService/PredictPrice", "INVALID_ARGUMENT"] == 2
    assert calls["turnout.v1.RankingService/Rank", "OK"] == 3
    assert by_labels(gateway, "turnout_requests_in_flight", ()) == {(): 0}
    states = by_labels(gateway, "turnout_model_state", ("model", "version", "state"))
    assert states["price", "1", "AVAILABLE"] == states["price", "2", "AVAILABLE"] == 1


def by_labels(gateway: Gateway, sample: str, names: Labels) -> dict[Labels, float]:
    """Return the series of a sample that are not zero, by the values of the labels *names*."""
    found = {}
    for labels, value in metrics(gateway, sample).items():
        named = dict(labels)
        assert set(named) == set(names)
        if value or not names:
            found[tuple(named[name] for name in names)] = value
    return found


# ---------------------------------------------------------------- logs


def test_a_log_line_of_a_call_has_the_ids_of_its_trace(store: Path, start_gateway: StartGateway) -> None:
    # It looks at its store for this call only: else it might find the new table by itself, outside of any call.
    gateway = start_gateway(store, "--allow-changes", "--set", "store.poll_s=3600")
    caller = Caller()
    table = (store / "routes.yaml").read_text()
    with turnout.Client(gateway.address) as client:
        client.apply_routes(table.replace("weight: 90", "weight: 80"), metadata=caller.metadata)
    (told,) = eventually(lambda: [one for one in records(gateway) if one.get("trace_id") == caller.trace_id])
    assert told["event"] == "route table adopted"
    assert len(told["span_id"]) == 16
    assert {"timestamp", "level", "logger", "event"} <= told.keys()


def test_without_a_collector_nothing_is_sent_and_nothing_complains(
    tiny_store: Path, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(tiny_store)
    with turnout.Client(gateway.address) as client:
        for _ in range(20):
            client.predict_price("price", {"carat": 1}, metadata=Caller().metadata)
    listening, connections = sockets(gateway)
    assert (listening, connections) == (2, 0)
    assert gateway.terminate() == 0
    assert {one["level"] for one in records(gateway)} == {"info"}
    assert {one["logger"].split(".")[0] for one in records(gateway)} == {"turnout"}


def sockets(gateway: Gateway) -> tuple[int, int]:
    """Return how many TCP sockets the gateway listens on, and how many connections it made itself."""
    found = psutil.Process(gateway.pid).net_connections("tcp")
    listening = [one for one in found if one.status == psutil.CONN_LISTEN]
    ports = {one.laddr.port for one in listening}
    return len(listening), len([one for one in found if one.laddr.port not in ports])


def test_a_collector_that_is_down_costs_no_request(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store, env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    with turnout.Client(gateway.address, retries=0) as client:
        for _ in range(50):
            client.predict_price("price", {"carat": 1})
    assert gateway.terminate() == 0
    assert "Traceback" not in gateway.log()
