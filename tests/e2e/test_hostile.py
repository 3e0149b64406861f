"""Nothing that a client sends takes the gateway down, makes it leak, or shows how it looks inside."""

from __future__ import annotations

import importlib.util
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

import turnout
from tests.e2e.conftest import DATA_PLANE, Gateway, StartGateway, environment
from tests.e2e.probes import Usage, connected, eventually, fp32, infer, metrics, records, serving, stream, unary, usage
from tests.tables import check_all
from turnout.v1 import (
    model_service_pb2,
    outcome_service_pb2,
    pricing_service_pb2,
    ranking_service_pb2,
    recommendation_service_pb2,
    route_service_pb2,
)
from turnout_server.rpc.stubs import open_inference_pb2 as oip

NATIVE = importlib.util.find_spec("turnout_engine") is not None and DATA_PLANE != "python"
INFER = "inference.GRPCInferenceService/ModelInfer"
STREAM = "inference.GRPCInferenceService/ModelStreamInfer"
SEED = 20261123
FILES: list[FileDescriptor] = [
    module.DESCRIPTOR
    for module in (
        oip,
        model_service_pb2,
        outcome_service_pb2,
        pricing_service_pb2,
        ranking_service_pb2,
        recommendation_service_pb2,
        route_service_pb2,
    )
]
METHODS: dict[str, MethodDescriptor] = {
    f"{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
}
UNARY = sorted(name for name, method in METHODS.items() if not method.client_streaming)
INSIDES = ("Traceback", "/work", "site-packages", ".py", "0x7f", 'File "')
"""What no status may contain."""
GROWTH_MIB = 96.0
"""How much the gateway may have grown when its hostile clients have gone: the allocator keeps some buffers of what it
has seen. Measured: 6 to 35 MiB after the stream that nobody reads."""


@pytest.fixture(scope="module")
def gateway(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that only hostile clients talk to."""
    with serving(tiny_store, tmp_path_factory.mktemp("hostile") / "log") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def before(gateway: Gateway) -> Usage:
    """What the gateway held before anybody was hostile, with all the threads that it makes when they are needed."""
    answers_normally(gateway)
    with connected(gateway.address) as channel:
        calls = [unary(channel, INFER).future(slow(400), timeout=60) for _ in range(30)]
        # A stream whose errors are statuses is answered by Python also where there is an engine.
        requests = iter([slow(400)] * 16)
        answered = list(stream(channel, STREAM)(requests, timeout=60, metadata=[("triton_grpc_error", "true")]))
        assert len(answered) == 16
        assert all(call.result() for call in calls)
    return usage(gateway)


@pytest.fixture(autouse=True)
def afterwards(gateway: Gateway, before: Usage) -> Iterator[None]:
    """Whatever a test did, the gateway answers, holds no more than before, and has not complained."""
    yield
    answers_normally(gateway)
    eventually(lambda: in_flight(gateway) == 0)
    # A connection takes a moment to go; a worker, or a thread of gRPC's, may be one that had not been needed yet.
    eventually(lambda: usage(gateway).files <= before.files + 4)
    assert usage(gateway).threads <= before.threads + 8
    # The engine gives back what large messages took some seconds after their connection has gone.
    eventually(lambda: usage(gateway).rss_mib <= before.rss_mib + GROWTH_MIB)
    log = gateway.log()
    assert "Traceback" not in log
    assert "never retrieved" not in log
    assert [one for one in records(gateway) if one["level"] in ("error", "critical")] == []


def answers_normally(gateway: Gateway) -> None:
    with turnout.Client(gateway.address, retries=0, timeout=30) as client, connected(gateway.address) as channel:
        assert client.health() == "SERVING"
        assert client.predict_price("price", {"carat": 1, "cut": "Fair"}, version=1).price == 1000
        request = fp32(1.5)
        answer = infer(channel, model_name=request.model_name, inputs=request.inputs)
        assert list(answer.raw_output_contents) == [struct.pack("<f", 1.5)]


def slow(rounds: int) -> bytes:
    """Return a request of the model that takes as long as it is told to."""
    tensor = oip.ModelInferRequest.InferInputTensor(name="rounds", datatype="INT64", shape=[1])
    tensor.contents.int64_contents.append(rounds)
    return oip.ModelInferRequest(model_name="slow", inputs=[tensor]).SerializeToString()


def in_flight(gateway: Gateway) -> float:
    (found,) = metrics(gateway, "turnout_requests_in_flight").values()
    return found


class Refusal(NamedTuple):
    """How a call failed."""

    code: str
    reason: str
    text: str


def refusal(call: Any, payload: Any, **options: Any) -> Refusal:
    """Call and return how that was refused, having checked that the status shows nothing from inside."""
    refused = outcome(call, payload, **options)
    assert refused is not None, "it was not refused"
    return refused


def outcome(call: Any, payload: Any, **options: Any) -> Refusal | None:
    """Call and return None for an answer, or how it was refused, checked as above."""
    try:
        answer = call(payload, **({"timeout": 30} | options))
        if not isinstance(answer, bytes):
            list(answer)
    except grpc.RpcError as error:
        return checked(error)
    return None


def checked(error: Any) -> Refusal:
    """Return what a failed call says, having checked that it shows nothing from inside."""
    text, trailing = error.details() or "", error.trailing_metadata()
    assert not [inside for inside in INSIDES if inside in f"{text} {trailing!r}"]
    reason = turnout.errors.status_details(trailing).reason
    return Refusal(error.code().name, reason, text)


# ---------------------------------------------------------------- messages


def test_bytes_that_are_no_message_are_refused(gateway: Gateway) -> None:
    def check(method: str) -> None:
        refused = refusal(unary(channel, method), b"\xff\xff\xff\xff")
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "REQUEST_INVALID")
        assert METHODS[method].input_type.full_name in refused.text

    with connected(gateway.address) as channel:
        check_all([(method,) for method in UNARY], check)


def test_random_bytes_get_an_answer_or_a_clean_status(gateway: Gateway) -> None:
    def check(method: str) -> None:
        draw = random.Random(f"{SEED} {method}")
        for _ in range(60):
            payload = draw.randbytes(draw.choice((0, 1, 2, 5, 20, 200)))
            if METHODS[method].client_streaming:
                refused = outcome(stream(channel, method), iter([payload]))
            else:
                refused = outcome(unary(channel, method), payload)
            assert refused is None or refused.code not in ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED")

    with connected(gateway.address) as channel:
        check_all([(method,) for method in sorted(METHODS)], check)


def test_damaged_requests_get_an_answer_or_a_clean_status(gateway: Gateway) -> None:
    draw = random.Random(SEED)
    whole = fp32(1.0, 2.0, 3.0, id="x").SerializeToString()
    codes = set()
    with connected(gateway.address) as channel:
        for _ in range(1000):
            damaged = bytearray(whole)
            for _ in range(draw.randint(1, 4)):
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
            refused = outcome(unary(channel, INFER), bytes(damaged[: draw.randint(1, len(whole))]))
            codes.add(refused.code if refused else "OK")
    assert codes <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


@pytest.mark.parametrize("method", [INFER, "turnout.v1.RankingService/Rank"])
def test_a_message_of_100_mb_is_refused(gateway: Gateway, method: str) -> None:
    with connected(gateway.address) as channel:
        assert refusal(unary(channel, method), bytes(100_000_000)).code == "RESOURCE_EXHAUSTED"


def test_a_compressed_message_that_swells_is_refused_and_what_it_took_is_given_back(
    gateway: Gateway, before: Usage
) -> None:
    # What others took may have been given back since, and what they took last may not have been yet.
    least = min(before.rss_mib, usage(gateway).rss_mib)
    with connected(gateway.address) as channel:
        call = unary(channel, INFER)
        assert refusal(call, bytes(200_000_000), compression=grpc.Compression.Gzip).code == "RESOURCE_EXHAUSTED"
    if NATIVE:
        eventually(lambda: usage(gateway).rss_mib <= least + 32)


def field(number: int, inside: bytes) -> bytes:
    """Return a field of bytes."""
    size, head = len(inside), bytes([number << 3 | 2])
    while size >= 0x80:
        head, size = head + bytes([size & 0x7F | 0x80]), size >> 7
    return head + bytes([size]) + inside


RANK = "turnout.v1.RankingService/Rank"
HEAVY: list[tuple[str, bytes]] = [
    (INFER, b"\x2a\x00"),  # inputs
    (INFER, b"\x32\x00"),  # outputs
    (INFER, b"\x3a\x00"),  # raw entries
    (INFER, b"\x22\x00"),  # parameters
    (STREAM, b"\x2a\x00"),
    (RANK, b"\x12\x00"),  # ids
    (RANK, b"\x1a\x02\x12\x00"),  # columns
    ("turnout.v1.PricingService/PredictPrice", b"\x12\x00"),
    ("turnout.v1.RecommendationService/Recommend", b"\x1a\x00"),
    ("inference.GRPCInferenceService/RepositoryIndex", b"\x78\x00"),
    ("turnout.v1.RouteService/Assign", b"\x1a\x00"),
]
"""What protobuf makes something of, over and over."""
INSIDE = [
    field(5, field(5, field(3, b"\x01" * 5_000_000))),  # packed numbers
    field(5, field(5, b"\x42\x00" * 2_500_000)),  # texts
    field(5, field(5, b"\x18\x01" * 2_500_000)),  # numbers, each by itself
    field(5, b"\x22\x00" * 2_500_000),  # parameters of an input
]
HELD_MIB = 100.0
"""What a gateway may take for a message of 5 MB in which everything is empty: the message itself, a few times. Before
values were counted, empty inputs took 220."""


@pytest.mark.parametrize(
    ("method", "message"),
    [(method, piece * (5_000_000 // len(piece))) for method, piece in HEAVY] + [(INFER, inside) for inside in INSIDE],
    ids=[f"{method.rpartition('/')[2]}-{piece.hex()}" for method, piece in HEAVY]
    + ["packed-numbers", "texts", "numbers", "parameters-of-an-input"],
)
def test_what_holds_too_much_is_refused_before_it_is_read(gateway: Gateway, method: str, message: bytes) -> None:
    peak(gateway)
    before = usage(gateway).rss_mib
    with connected(gateway.address) as channel:
        if method == STREAM:
            refused = refusal(stream(channel, method), iter([message]))
        else:
            refused = refusal(unary(channel, method), message)
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "TOO_MANY_VALUES")
    assert "limits.max_message_values" in refused.text
    assert peak(gateway) <= before + HELD_MIB


def test_kilobytes_do_not_become_many_megabytes(gateway: Gateway) -> None:
    """The engine stops inflating by ratio; without it, what came out is counted."""
    with connected(gateway.address) as channel:
        for message in (b"\x2a\x00" * 7_500_000, field(7, bytes(15_000_000))):
            refused = refusal(unary(channel, INFER), message, compression=grpc.Compression.Gzip)
            if NATIVE:
                assert (refused.code, "more than 256:1" in refused.text) == ("RESOURCE_EXHAUSTED", True)
            else:
                assert refused.code == "INVALID_ARGUMENT"
        x = oip.ModelInferRequest.InferInputTensor(name="in_fp32", datatype="FP32", shape=[1, 1_000_000])
        zeros = oip.ModelInferRequest(model_name="echo-fp32", inputs=[x], raw_input_contents=[bytes(4_000_000)])
        assert outcome(unary(channel, INFER), zeros.SerializeToString(), compression=grpc.Compression.Gzip) is None


def test_a_million_texts_are_no_offence(tiny_store: Path, start_gateway: StartGateway) -> None:
    """Not of the hostile clients' gateway: what so many texts have taken is not given back at once."""
    gateway = start_gateway(tiny_store)
    count = 1 << 20
    tensor = oip.ModelInferRequest.InferInputTensor(name="in_bytes", datatype="BYTES", shape=[1, count])
    tensor.contents.bytes_contents.extend([b"text"] * count)
    with connected(gateway.address) as channel:
        answer = infer(channel, model_name="echo-bytes", inputs=[tensor], timeout=120)
    assert answer.raw_output_contents == [b"\x04\0\0\0text" * count]


def peak(gateway: Gateway) -> float:
    """Return the most that the gateway has held since somebody last asked, in MiB."""
    process = Path(f"/proc/{gateway.pid}")
    (line,) = (line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    (process / "clear_refs").write_text("5")
    return int(line.split()[1]) / 1024


NO_SHAPES = [[-1, 1], [1, -(2**63)], [1] * 1000, [], [0, 2**62]]
TOO_LARGE = [[2**31, 2**31], [2**62, 4], [2**63 - 1, 2**63 - 1], [10**9, 10**9]]


def test_absurd_shapes_are_refused(gateway: Gateway) -> None:
    def check(name: str, shape: list[int], raw: bool, reason: str) -> None:
        tensor = oip.ModelInferRequest.InferInputTensor(name="in_fp32", datatype="FP32", shape=shape)
        request = oip.ModelInferRequest(model_name="echo-fp32", inputs=[tensor])
        if raw:
            request.raw_input_contents.append(np.zeros(4, np.float32).tobytes())
        else:
            request.inputs[0].contents.fp32_contents.extend([0.0] * 4)
        refused = refusal(unary(channel, INFER), request.SerializeToString())
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", reason)

    with connected(gateway.address) as channel:
        shapes = [(shape, "INPUT_INVALID") for shape in NO_SHAPES] + [
            (shape, "REQUEST_TOO_LARGE") for shape in TOO_LARGE
        ]
        rows = [(f"{shape[:5]}, {raw=}", shape, raw, reason) for shape, reason in shapes for raw in (True, False)]
        check_all(rows, check)


def test_zero_rows_of_absurd_width_allocate_nothing(gateway: Gateway) -> None:
    tensor = oip.ModelInferRequest.InferInputTensor(name="in_fp32", datatype="FP32", shape=[0, 2**40])
    request = oip.ModelInferRequest(model_name="echo-fp32", inputs=[tensor], raw_input_contents=[b""])
    with connected(gateway.address) as channel:
        refused = outcome(unary(channel, INFER), request.SerializeToString())
    assert refused is None or refused.code == "INVALID_ARGUMENT"


def test_strings_that_claim_to_be_long_are_refused(gateway: Gateway) -> None:
    tensor = oip.ModelInferRequest.InferInputTensor(name="in_bytes", datatype="BYTES", shape=[1, 1])
    with connected(gateway.address) as channel:
        for contents in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7fabc", b"\x01\x00\x00", b"\x01\x00\x00\x00ab", b""):
            request = oip.ModelInferRequest(model_name="echo-bytes", inputs=[tensor], raw_input_contents=[contents])
            assert refusal(unary(channel, INFER), request.SerializeToString()).reason == "INPUT_INVALID"


def test_ten_thousand_tensors_in_a_request_are_refused(gateway: Gateway) -> None:
    request = fp32(1.0)
    request.inputs.extend([request.inputs[0]] * 10_000)
    with connected(gateway.address) as channel:
        assert refusal(unary(channel, INFER), request.SerializeToString()).code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("name", ["", "x" * 1_000_000, "../../etc/passwd", "price\0", "é漢😀" * 1000, "%s%n"])
def test_absurd_names_are_not_found_and_not_repeated_at_length(gateway: Gateway, name: str) -> None:
    with connected(gateway.address) as channel:
        refused = refusal(unary(channel, INFER), fp32(1.0, model=name).SerializeToString())
    assert refused.code in ("NOT_FOUND", "INVALID_ARGUMENT")
    assert len(refused.text) <= 1100


# ---------------------------------------------------------------- methods and metadata


@pytest.mark.parametrize(
    "method",
    ["inference.GRPCInferenceService/Nothing", "nothing.Nothing/Nothing", "a/b/c", "x" * 4000 + "/y"],
)
def test_unknown_methods_are_unimplemented(gateway: Gateway, method: str) -> None:
    with connected(gateway.address) as channel:
        assert refusal(unary(channel, method), b"").code == "UNIMPLEMENTED"
        assert refusal(stream(channel, method), iter([b""])).code == "UNIMPLEMENTED"


def test_a_unary_method_called_as_a_stream_is_refused(gateway: Gateway) -> None:
    with connected(gateway.address) as channel:
        payloads = [fp32(1.0).SerializeToString()] * 3
        refused = outcome(stream(channel, INFER), iter(payloads))
    # gRPC itself takes the first message and answers that, or refuses.
    assert refused is None or refused.code in ("INVALID_ARGUMENT", "UNIMPLEMENTED", "INTERNAL")


def test_huge_metadata_is_refused_or_ignored(gateway: Gateway) -> None:
    with connected(gateway.address) as channel:
        payload = fp32(1.0).SerializeToString()
        for metadata in (
            [("x-large", "x" * 500_000)],
            [(f"x-{number}", "x" * 100) for number in range(5000)],
            [("x-turnout-unit", "u" * 200_000)],
        ):
            assert refusal(unary(channel, INFER), payload, metadata=metadata).code in ("RESOURCE_EXHAUSTED", "INTERNAL")


@pytest.mark.parametrize(
    "metadata",
    [
        ("x-turnout-unit", "u" * 1024),
        ("x-turnout-unit", ""),
        ("grpc-trace-bin", b"\xff" * 100),
        ("traceparent", "00-" + "f" * 32 + "-" + "f" * 16 + "-ff"),
        ("tracestate", ",=,=" * 500),
        ("triton_grpc_error", "x" * 1000),
        ("x-turnout-unit-bin", b"\0\xff"),
    ],
)
def test_odd_metadata_costs_nothing(gateway: Gateway, metadata: tuple[str, Any]) -> None:
    with connected(gateway.address) as channel:
        assert unary(channel, INFER)(fp32(1.0).SerializeToString(), metadata=[metadata], timeout=30)


def test_bytes_that_are_not_http2_are_hung_up_on(gateway: Gateway) -> None:
    host, port = gateway.address.split(":")
    draw = random.Random(SEED)
    for opening in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + draw.randbytes(500),
        draw.randbytes(999),
    ):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(opening)
            while connection.recv(4096):
                pass


# ---------------------------------------------------------------- clients that go away


def test_thousands_of_cancelled_calls_cost_nothing(gateway: Gateway) -> None:
    with connected(gateway.address) as channel:
        for _ in range(20):
            calls = [unary(channel, INFER).future(slow(4), timeout=60) for _ in range(150)]
            for call in calls:
                call.cancel()
        eventually(lambda: in_flight(gateway) == 0)


def test_streams_that_are_opened_and_abandoned_cost_nothing(gateway: Gateway) -> None:
    over = threading.Event()

    def one_then_silence() -> Iterator[bytes]:
        yield fp32(1.0).SerializeToString()
        over.wait(60)

    for _ in range(10):
        with connected(gateway.address) as channel:
            calls = [stream(channel, STREAM)(one_then_silence()) for _ in range(20)]
            assert all(next(call) for call in calls)
        # The channel is closed with all its streams open.
        over.set()
        over.clear()
    over.set()


def test_a_stream_that_asks_for_much_and_reads_nothing_is_bounded(gateway: Gateway, before: Usage) -> None:
    wide = oip.ModelInferRequest.InferInputTensor(name="in_fp32", datatype="FP32", shape=[1, 250_000])
    raw = bytes(1_000_000)
    request = oip.ModelInferRequest(model_name="echo-fp32", inputs=[wide], raw_input_contents=[raw])
    payload = request.SerializeToString()
    sent: list[int] = []

    def asking() -> Iterator[bytes]:
        for number in range(400):
            sent.append(number)
            yield payload

    with connected(gateway.address) as channel:
        call = stream(channel, STREAM)(asking())
        next(call)
        answers_normally(gateway)
        # 400 MB of answers that nobody reads would pile up, did not flow control stop the sender long before.
        assert len(sent) < 200
        assert usage(gateway).rss_mib <= before.rss_mib + GROWTH_MIB
        call.cancel()


def test_half_closed_streams_end(gateway: Gateway) -> None:
    with connected(gateway.address) as channel:
        for _ in range(200):
            assert list(stream(channel, STREAM)(iter([]), timeout=30)) == []


def test_five_hundred_streams_at_once_are_answered(tiny_store: Path, start_gateway: StartGateway) -> None:
    """A queue that takes them all: how long they wait is the machine's."""
    gateway = start_gateway(tiny_store, "--set", "limits.queue_requests=1500")

    def requests(number: int) -> Iterator[bytes]:
        for _ in range(3):
            yield fp32(float(number)).SerializeToString()

    with connected(gateway.address) as channel:
        calls = [stream(channel, STREAM)(requests(number), timeout=60) for number in range(500)]
        for number, call in enumerate(calls):
            answers = [oip.ModelStreamInferResponse.FromString(raw) for raw in call]
            assert [answer.error_message for answer in answers] == ["", "", ""]
            found = {answer.infer_response.raw_output_contents[0] for answer in answers}
            assert found == {struct.pack("<f", number)}


KILLED = """
import sys, grpc
from tests.e2e.probes import fp32, stream, unary
from turnout_server.rpc.stubs import open_inference_pb2 as oip
slow = oip.ModelInferRequest.InferInputTensor(name="rounds", datatype="INT64", shape=[1])
slow.contents.int64_contents.append(2000)
request = oip.ModelInferRequest(model_name="slow", inputs=[slow]).SerializeToString()
channel = grpc.insecure_channel(sys.argv[1])
def forever():
    while True:
        yield fp32(1.0).SerializeToString()
answers = stream(channel, "inference.GRPCInferenceService/ModelStreamInfer")(forever())
next(answers)
calls = [unary(channel, "inference.GRPCInferenceService/ModelInfer").future(request) for _ in range(20)]
print("busy", flush=True)
for _ in answers: pass
"""


def test_a_client_that_is_killed_in_the_middle_costs_nothing(gateway: Gateway) -> None:
    command = [sys.executable, "-c", KILLED, gateway.address]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "busy\n"
        eventually(lambda: in_flight(gateway) >= 10)
        client.send_signal(signal.SIGKILL)
        client.wait()
    eventually(lambda: in_flight(gateway) == 0)


def test_connections_that_say_nothing_cost_nothing(gateway: Gateway) -> None:
    host, port = gateway.address.split(":")
    idle = [socket.create_connection((host, int(port)), timeout=30) for _ in range(200)]
    answers_normally(gateway)
    for connection in idle:
        connection.close()
