"""How the gateway starts, how it refuses to, and how it ends."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

import turnout
from tests.e2e.conftest import REPOSITORY, Gateway, StartGateway, environment, serve_command
from tests.e2e.tiny_store import ROUTES
from turnout_server.rpc.stubs import open_inference_pb2 as pb

ROUNDS = 4000
"""Of the model `slow`: about a second."""


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refused(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a gateway that is expected to end by itself."""
    command = serve_command(store, *arguments)
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


# ---------------------------------------------------------------- refusing to start


@pytest.mark.parametrize("option", ["--listen", "--metrics"])
def test_a_port_in_use_is_one_clear_line(tiny_store: Path, taken: str, option: str) -> None:
    ran = refused(tiny_store, option, taken)
    assert (ran.returncode, ran.stdout) == (78, "")
    assert last_line(ran).startswith("turnout: error: ")
    assert taken in last_line(ran)
    assert "Traceback" not in ran.stderr


def test_two_gateways_cannot_share_a_port(gateway: Gateway) -> None:
    assert refused(gateway.store, "--listen", gateway.address).returncode == 78


@pytest.mark.parametrize("store", ["nowhere", "file"])
def test_an_unreadable_store_is_one_clear_line(tmp_path: Path, store: str) -> None:
    (tmp_path / "file").touch()
    ran = refused(tmp_path / store)
    assert (ran.returncode, ran.stdout) == (69, "")
    assert re.match(r"turnout: error: cannot read the store: .*(No such file|not a directory)", last_line(ran))
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("listen: 8001", "$.listen"),
        ("limits: {queue_rows: 0}", "$.limits.queue_rows"),
        ("lissen: 127.0.0.1:8001", "lissen"),
        ("[", "not YAML"),
    ],
)
def test_a_bad_configuration_is_one_clear_line(tiny_store: Path, tmp_path: Path, document: str, says: str) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(document)
    command = [*serve_command(tiny_store)[:4], "--config", str(file)]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (78, "", 1)
    assert ran.stderr.startswith(f"turnout: error: {file}: ")
    assert says in ran.stderr


def last_line(ran: subprocess.CompletedProcess[str]) -> str:
    """What was said last; before it there may be log lines, which are JSON."""
    *logged, last = ran.stderr.splitlines()
    for line in logged:
        json.loads(line)
    return last


# ---------------------------------------------------------------- starting


def test_it_says_where_and_what_it_serves(gateway: Gateway) -> None:
    assert gateway.started["routes"] == ["echo", "price", "ranking", "recommendation"]
    assert (gateway.started["failed"], gateway.started["table_problem"]) == ([], "")
    with turnout.Client(gateway.address) as client:
        assert client.health() == "SERVING"
    with urllib.request.urlopen(f"http://{gateway.metrics}/metrics", timeout=10) as answer:
        assert b"turnout_build_info" in answer.read()


@pytest.fixture
def greeting(tiny_store: Path, tmp_path: Path) -> Iterator[str]:
    """What a person sees, while the gateway serves."""
    command = [part for part in serve_command(tiny_store) if part != "--json"]
    out = (tmp_path / "out").open("w+")
    with out, subprocess.Popen(command, env=environment(), stdout=out, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: " call " in (tmp_path / "out").read_text() or process.poll() is not None)
            yield (tmp_path / "out").read_text()
        finally:
            process.kill()


def test_the_commands_that_it_prints_work_when_pasted(greeting: str) -> None:
    assert "price           control 50 % -> price version 1, canary 50 % -> price version 2" in greeting
    commands = [line.strip() for line in greeting.partition("try:\n")[2].splitlines()]
    # The last is `turnout` where that is installed beside Python, and `python -m turnout_server` elsewhere.
    programs = [shlex.split(command)[0].rpartition("/")[2] for command in commands]
    assert programs in (["grpcurl", "python", "turnout"], ["grpcurl", "python", "python"])
    path = f"{REPOSITORY}/.venv/bin:{environment()['PATH']}"
    for command in commands:
        ran = subprocess.run(
            command,
            shell=True,  # as a person's shell would
            env=environment(PATH=path),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "1650" in ran.stdout


def test_a_version_that_cannot_be_loaded_is_named_and_the_rest_serves(store: Path, start_gateway: StartGateway) -> None:
    model = store / "models/price/1/model.onnx"
    model.chmod(0o644)
    model.write_bytes(b"not the model that was published")
    gateway = start_gateway(store)
    (failed,) = gateway.started["failed"]
    assert (failed["model"], failed["version"]) == ("price", 1)
    assert "model.onnx" in failed["detail"]
    with turnout.Client(gateway.address) as client:
        assert client.predict_price("price", {"carat": 1.0}, version=2).price == 1650.0


def test_a_wrong_table_does_not_keep_models_from_serving(store: Path, start_gateway: StartGateway) -> None:
    (store / "routes.yaml").write_text(ROUTES.replace("weight: 90", "weight: heavy"))
    gateway = start_gateway(store)
    assert gateway.started["routes"] == []
    assert "$.routes.ranking.targets[0].weight" in gateway.started["table_problem"]
    with turnout.Client(gateway.address) as client:
        assert client.predict_price("price", {"carat": 1.0}).served.reason == "NAMED"


def test_metrics_can_be_off(tiny_store: Path, start_gateway: StartGateway) -> None:
    assert start_gateway(tiny_store, "--metrics", "off").metrics is None


# ---------------------------------------------------------------- ending


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_ends_with_0(tiny_store: Path, start_gateway: StartGateway, number: signal.Signals) -> None:
    gateway = start_gateway(tiny_store)
    gateway.process.send_signal(number)
    assert gateway.process.wait(30) == 0
    assert "Traceback" not in gateway.log()


def test_a_crash_in_native_code_says_what_each_thread_was_doing(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store)
    gateway.process.send_signal(signal.SIGSEGV)
    assert gateway.process.wait(30) == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in gateway.log()
    assert "turnout_server/app.py" in gateway.log()


def test_calls_in_progress_finish_and_new_ones_are_refused_politely(
    tiny_store: Path, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(tiny_store)
    with grpc.insecure_channel(gateway.address) as channel, turnout.Client(gateway.address, retries=0) as client:
        slow = start_slow_call(channel, gateway)
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in gateway.log())
        assert client.health() == "NOT_SERVING"
        with pytest.raises(turnout.UnavailableError) as refusal:
            client.predict_price("price", {"carat": 1.0})
        assert refusal.value.reason == "SHUTTING_DOWN"
        assert not slow.done()
        assert slow.result(timeout=30).outputs[0].name == "done"
    assert gateway.process.wait(30) == 0
    assert "cancelling" not in gateway.log()
    assert "Traceback" not in gateway.log()


def test_a_shutdown_in_traffic_refuses_calls_and_cancels_none(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store)
    stopped = threading.Event()

    def ask() -> Counter[str]:
        codes: Counter[str] = Counter()
        with grpc.insecure_channel(gateway.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            check = channel.unary_unary("/turnout.v1.RouteService/ListRoutes")
            while not stopped.is_set():
                try:
                    check(b"", timeout=30)
                    codes["OK"] += 1
                except grpc.RpcError as error:
                    codes[error.code().name] += 1
        return codes

    with ThreadPoolExecutor() as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        until(lambda: "ListRoutes" in scraped(gateway))
        gateway.process.send_signal(signal.SIGTERM)
        code = gateway.process.wait(30)
        stopped.set()
        codes = sum((one.result() for one in asking), Counter())
    assert code == 0
    assert set(codes) == {"OK", "UNAVAILABLE"}


def test_calls_that_outlast_the_grace_period_are_cancelled(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store, "--grace", "0")
    with grpc.insecure_channel(gateway.address) as channel:
        slow = start_slow_call(channel, gateway)
        gateway.process.send_signal(signal.SIGTERM)
        assert slow.exception(timeout=30).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert gateway.process.wait(30) == 0
    assert "Traceback" not in gateway.log()


def test_a_second_signal_does_not_wait(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store, "--grace", "3600")
    with grpc.insecure_channel(gateway.address) as channel:
        slow = start_slow_call(channel, gateway)
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in gateway.log())
        gateway.process.send_signal(signal.SIGTERM)
        assert isinstance(slow.exception(timeout=30), grpc.RpcError)
    assert gateway.process.wait(30) == 0
    assert "Traceback" not in gateway.log()


def start_slow_call(channel: grpc.Channel, gateway: Gateway) -> grpc.Future:
    """Start a call that takes about a second, and return when the gateway is at it."""
    infer = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )
    request = pb.ModelInferRequest(model_name="slow")
    tensor = request.inputs.add(name="rounds", datatype="INT64", shape=[1])
    tensor.contents.int64_contents.append(ROUNDS)
    call: grpc.Future = infer.future(request, timeout=60)
    until(lambda: in_flight(gateway) >= 1)
    return call


def in_flight(gateway: Gateway) -> float:
    """Return how many inferences are in progress, as the metrics say."""
    values = re.findall(r"^turnout_requests_in_flight(?:\{[^}]*\})? (\S+)$", scraped(gateway), re.M)
    return sum(float(value) for value in values)


def scraped(gateway: Gateway) -> str:
    """Return the metrics as they are now."""
    with urllib.request.urlopen(f"http://{gateway.metrics}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def until(holds: Callable[[], bool], timeout: float = 30.0) -> None:
    """Wait until something about another process holds."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)
