"""Deadlines, retries, balancing, and what travels with each call."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import turnout
from tests.client.conftest import Connect
from tests.client.fake import Failure, FakeGateway, status_details
from turnout import settings

UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE, "loading", status_details("VERSION_UNAVAILABLE"))


def overloaded(pushback_ms: str) -> Failure:
    trailing = status_details("QUEUE_FULL", 0.001) | {"grpc-retry-pushback-ms": pushback_ms}
    return Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailing)


SAFE = [
    lambda client: client.recommend("next", []),
    lambda client: client.rank("ranking", {"a": {"x": 1}}),
    lambda client: client.predict_price("price", {"x": 1}),
    lambda client: client.model("price"),
    lambda client: client.route("price"),
    lambda client: client.assign("price", "u"),
    lambda client: client.health(),
    lambda client: (client.outcome("order", unit="u"), client.flush()),
]
UNSAFE = [
    lambda client: client.set_label("price", "champion", 4),
    lambda client: client.remove_label("price", "champion"),
    lambda client: client.apply_routes(""),
]


@pytest.mark.parametrize("call", SAFE)
def test_a_safe_call_is_tried_again(gateway: FakeGateway, client: Any, call: Any) -> None:
    gateway.failures.append(UNAVAILABLE)
    call(client)
    assert len(gateway.seen) == 2


@pytest.mark.parametrize("call", UNSAFE)
@pytest.mark.parametrize("failure", [UNAVAILABLE, overloaded("1")])
def test_a_call_that_changes_something_is_sent_once(
    gateway: FakeGateway, client: Any, call: Any, failure: Failure
) -> None:
    gateway.failures.append(failure)
    with pytest.raises(turnout.TurnoutError):
        call(client)
    assert len(gateway.seen) == 1


@pytest.mark.parametrize("retries", [0, 2])
def test_retries_end(gateway: FakeGateway, connect: Connect, retries: int) -> None:
    gateway.failures.extend([UNAVAILABLE] * 10)
    with pytest.raises(turnout.UnavailableError) as caught:
        connect(retries=retries).model("price")
    assert caught.value.reason == "VERSION_UNAVAILABLE"
    assert len(gateway.seen) == 1 + retries


def test_an_overloaded_server_is_asked_again_when_it_says(gateway: FakeGateway, client: Any) -> None:
    gateway.failures.append(overloaded("1"))
    client.model("price")
    assert len(gateway.seen) == 2


def test_the_servers_delay_is_not_cut_short(gateway: FakeGateway, client: Any) -> None:
    """Told to come back after the deadline, the client does not come back at all."""
    gateway.failures.append(overloaded("60000"))
    with pytest.raises(turnout.TurnoutError):
        client.model("price", timeout=0.5)
    assert len(gateway.seen) == 1


def test_a_server_can_forbid_retries(gateway: FakeGateway, client: Any) -> None:
    gateway.failures.append(overloaded("-1"))
    with pytest.raises(turnout.OverloadedError):
        client.model("price")
    assert len(gateway.seen) == 1


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "ABORTED", "UNKNOWN"])
def test_what_cannot_get_better_is_not_retried(gateway: FakeGateway, client: Any, code: str) -> None:
    gateway.failures.append(Failure(grpc.StatusCode[code]))
    with pytest.raises(turnout.TurnoutError):
        client.model("price")
    assert len(gateway.seen) == 1


def test_a_restarted_server_is_found_again(connect: Connect) -> None:
    first = FakeGateway()
    client = connect(first.target)
    client.health()
    first.stop()
    second = FakeGateway(first.port)
    try:
        assert client.health() == "SERVING"
    finally:
        second.stop()


def test_calls_are_spread_over_all_addresses(gateway: FakeGateway, connect: Connect) -> None:
    other = FakeGateway()
    try:
        client = connect(f"ipv4:127.0.0.1:{gateway.port},127.0.0.1:{other.port}")
        while not (gateway.seen and other.seen):  # the second connection takes a moment
            client.health()
        before = len(gateway.seen), len(other.seen)
        for _ in range(10):
            client.health()
        assert (len(gateway.seen) - before[0], len(other.seen) - before[1]) == (5, 5)
    finally:
        other.stop()


# ---------------------------------------------------------------- deadlines


def test_every_call_has_a_deadline(gateway: FakeGateway, connect: Connect) -> None:
    client = connect(timeout=20)
    client.model("price")
    client.model("price", timeout=100)
    first, second = (seen.time_remaining for seen in gateway.seen)
    assert first is not None
    assert second is not None
    assert 10 < first < 30
    assert 90 < second < 110


def test_no_deadline_must_be_said(gateway: FakeGateway, client: Any) -> None:
    client.model("price", timeout=turnout.NO_DEADLINE)
    remaining = gateway.seen[0].time_remaining
    assert remaining is None or remaining > 1e9  # grpc says "for ever" in either way


def test_a_passed_deadline_says_how_long_it_waited(gateway: FakeGateway, client: Any) -> None:
    gateway.open.clear()
    with pytest.raises(turnout.DeadlineError, match=r"no answer from .* to .*/GetModel within 0.05 s") as caught:
        client.model("price", timeout=0.05)
    assert caught.value.code == caught.value.reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"timeout": None}, TypeError, "timeout must be seconds, or NO_DEADLINE"),
        ({"timeout": 0}, ValueError, "timeout must be more than 0"),
        ({"timeout": float("nan")}, ValueError, "timeout must be more than 0"),
        ({"timeout": True}, TypeError, "timeout must be seconds"),
        ({"retries": 5}, ValueError, "retries must be 0 to 4; found 5"),
        ({"retries": -1}, ValueError, "retries must be 0 to 4; found -1"),
        ({"max_message_bytes": 0}, ValueError, "max_message_bytes must be 1 or more"),
        ({"unit": 7}, TypeError, "unit must be text; found 7"),
        ({"target": ""}, ValueError, "target is empty"),
        ({"target": 8001}, TypeError, "target must be an address"),
    ],
)
@pytest.mark.parametrize("kind", [turnout.Client, turnout.AsyncClient])
def test_a_bad_setting_is_refused_at_once(
    kind: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kind(**({"target": "127.0.0.1:1"} | arguments))


# ---------------------------------------------------------------- metadata and traces


def test_a_calls_metadata_win_over_the_clients(gateway: FakeGateway, connect: Connect) -> None:
    client = connect(metadata={"X-QA": "off", "x-team": "search"})
    client.health(metadata=[("x-qa", "on")])
    sent = gateway.seen[0].metadata
    assert (sent["x-qa"], sent["x-team"]) == ("on", "search")


def test_metadata_may_come_from_an_iterator(gateway: FakeGateway, connect: Connect) -> None:
    client = connect(metadata=iter([("x-team", "search")]))
    client.health()
    client.health()
    assert [seen.metadata["x-team"] for seen in gateway.seen] == ["search", "search"]


def test_the_current_span_travels(gateway: FakeGateway, client: Any) -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("caller") as span:
        client.health()
    context = span.get_span_context()
    ids = f"{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}"
    expected = f"00-{ids}-{context.trace_flags:02x}"
    assert gateway.seen[0].metadata["traceparent"] == expected


def test_without_a_span_there_is_no_traceparent(gateway: FakeGateway, client: Any) -> None:
    client.health()
    assert "traceparent" not in gateway.seen[0].metadata


def test_a_traceparent_of_the_callers_own_wins(gateway: FakeGateway, client: Any) -> None:
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with TracerProvider().get_tracer("test").start_as_current_span("caller"):
        client.health(metadata={"traceparent": own})
    assert gateway.seen[0].metadata["traceparent"] == own


def test_compressed_requests_arrive(gateway: FakeGateway, connect: Connect) -> None:
    connect(compression=grpc.Compression.Gzip).recommend("next", ["item"] * 1000)
    assert len(gateway.seen[0].request.history_item_ids) == 1000


def test_credentials_make_a_secure_channel(gateway: FakeGateway, connect: Connect) -> None:
    """Local credentials reach a port that wants them; TLS does not get through to one that speaks plain text."""
    assert connect(gateway.secure_target, credentials=grpc.local_channel_credentials()).health() == "SERVING"
    with pytest.raises(turnout.UnavailableError):
        connect(credentials=grpc.ssl_channel_credentials(), retries=0).health()


def test_the_callers_channel_options_win(gateway: FakeGateway, connect: Connect) -> None:
    connect(channel_options=[("grpc.primary_user_agent", "search")]).health()
    assert gateway.seen[0].metadata["user-agent"].startswith("search ")


# ---------------------------------------------------------------- what is shown


@pytest.mark.parametrize("kind", [turnout.Client, turnout.AsyncClient])
def test_a_client_shows_whom_it_asks_and_no_secret(kind: Any) -> None:
    plain = kind("http://gateway:8001", timeout=2, unit="customer-7", metadata={"authorization": "secret"})
    assert repr(plain) == f"<turnout.{kind.__name__} of gateway:8001, unit='customer-7', timeout=2>"
    secure = kind("https://gateway:8001", credentials=grpc.ssl_channel_credentials())
    assert repr(secure) == f"<turnout.{kind.__name__} of gateway:8001, TLS, timeout=10>"


def test_a_url_is_gone_to(gateway: FakeGateway, connect: Connect) -> None:
    assert connect(f"http://{gateway.target}").health() == "SERVING"


# ---------------------------------------------------------------- lightness


def run(code: str) -> str:
    """Run *code* in a process of its own, and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PATH = f"import sys; sys.path.insert(0, {turnout.__file__.removesuffix('/turnout/__init__.py')!r}); "


def test_importing_turnout_imports_only_grpc_and_protobuf() -> None:
    """Grpc itself imports those of its sister packages that are there, so what it brings is not counted."""
    code = (
        "import grpc.aio, google.protobuf; before = set(sys.modules); import turnout; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    assert {"turnout"} <= set(run(PATH + code).split()) <= {"turnout", "google", "grpc"}
    unwanted = "('numpy', 'pandas', 'opentelemetry', 'turnout_server', 'google.rpc', 'grpc_status')"
    assert run(PATH + f"import turnout; print([name for name in {unwanted} if name in sys.modules])") == "[]"


@pytest.mark.parametrize("order", ["turnout, google.rpc.status_pb2", "google.rpc.status_pb2, turnout"])
def test_turnout_and_googleapis_get_along(order: str) -> None:
    imports = f"import {order}, google.rpc.error_details_pb2, grpc_health.v1.health_pb2; "
    assert run(PATH + imports + "print(turnout._wire.Status is google.rpc.status_pb2.Status)") == "False"


def test_a_call_imports_no_opentelemetry(gateway: FakeGateway) -> None:
    code = f"import turnout; c = turnout.Client({gateway.target!r}); c.health(); c.close(); "
    assert run(PATH + code + "print('opentelemetry' in sys.modules)") == "False"


def test_a_client_works_where_there_is_neither_numpy_nor_pandas(gateway: FakeGateway) -> None:
    code = (
        "sys.modules.update(numpy=None, pandas=None, polars=None); import turnout; "
        f"c = turnout.Client({gateway.target!r}); "
        "answer = c.infer('m', {'a': [1, 2], 'x': [[1, 2], [3, 4]]}); print(dict(answer)); "
        "print(c.infer('m', [[1, 2], [3, 4]])); c.close()"
    )
    assert run(PATH + code).splitlines() == [
        "{'total': [1.0, 2.0], 'x': [[1, 2], [3, 4]]}",
        "Inference(total: list of 1, x: list of 2 by m/control -> anything 3 (UNSTICKY))",
    ]


def test_the_service_config_names_every_safe_method_once() -> None:
    (policy,) = settings.service_config(3)["methodConfig"]
    names = [entry["method"] for entry in policy["name"]]
    assert len(names) == len(set(names))
    assert set(names).isdisjoint({"SetLabel", "ApplyRoutes"})
