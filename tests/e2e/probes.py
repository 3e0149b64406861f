"""What tests look at a gateway with: raw calls, its numbers, its log, its process."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import grpc
import psutil
from google.protobuf.message import Message
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Gateway, _start
from turnout_server.rpc.stubs import open_inference_pb2 as oip

T = TypeVar("T")
MIB = 1024 * 1024
PATIENCE_S = 30.0
"""How long a test waits for what must come; what comes sooner is seen sooner."""


def eventually(look: Callable[[], T], within_s: float = PATIENCE_S) -> T:
    """Look again and again until there is something true, and return it; fail with the last thing seen."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s; last seen: {found!r}"
        time.sleep(0.02)
    return found


@contextmanager
def serving(store: Path, log: Path, *arguments: str, **env: str) -> Iterator[Gateway]:
    """Run a gateway that several tests share; those that need one each have `start_gateway`."""
    gateway = _start(store, log, arguments, env)
    try:
        yield gateway
    finally:
        gateway.kill()


@contextmanager
def connected(address: str, **options: int) -> Iterator[grpc.Channel]:
    """Lend a bare channel: no retries, no limits, and a connection of its own."""
    plain = {
        "grpc.max_send_message_length": -1,
        "grpc.max_receive_message_length": -1,
        "grpc.enable_retries": 0,
        "grpc.use_local_subchannel_pool": 1,
    }
    named = {f"grpc.{name}": value for name, value in options.items()}
    with grpc.insecure_channel(address, list((plain | named).items())) as channel:
        yield channel


def unary(channel: grpc.Channel, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """Return a callable that sends bytes as they are to `package.Service/Method`."""
    return channel.unary_unary(f"/{method}")


def stream(channel: grpc.Channel, method: str) -> grpc.StreamStreamMultiCallable[bytes, bytes]:
    """Return the same for a stream of both sides."""
    return channel.stream_stream(f"/{method}")


def infer(channel: grpc.Channel, *, timeout: float = PATIENCE_S, **fields: Any) -> oip.ModelInferResponse:
    """Call ModelInfer."""
    raw = unary(channel, "inference.GRPCInferenceService/ModelInfer")(
        oip.ModelInferRequest(**fields).SerializeToString(), timeout=timeout
    )
    return oip.ModelInferResponse.FromString(raw)


def fp32(*values: float, model: str = "echo-fp32", **fields: Any) -> oip.ModelInferRequest:
    """Return a request of one row for `echo-fp32`."""
    tensor = oip.ModelInferRequest.InferInputTensor(name="in_fp32", datatype="FP32", shape=[1, len(values)])
    tensor.contents.fp32_contents.extend(values)
    return oip.ModelInferRequest(model_name=model, inputs=[tensor], **fields)


def administer(channel: grpc.Channel, method: str, request: Message, answer: type[Message]) -> Any:
    """Call an RPC of the Open Inference Protocol."""
    raw = unary(channel, f"inference.GRPCInferenceService/{method}")(request.SerializeToString(), timeout=PATIENCE_S)
    return answer.FromString(raw)


def index(channel: grpc.Channel) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the state, and the reason for it, of every version in RepositoryIndex."""
    found = administer(channel, "RepositoryIndex", oip.RepositoryIndexRequest(), oip.RepositoryIndexResponse)
    return {(model.name, model.version): (model.state, model.reason) for model in found.models}


def records(gateway: Gateway) -> list[dict[str, Any]]:
    """Return the log as far as it has been written, an event a line; a line that is not JSON is an error."""
    return [json.loads(line) for line in gateway.log().split("\n")[:-1]]


def events(gateway: Gateway, event: str, **fields: Any) -> list[dict[str, Any]]:
    """Return the log's events of that name that have all of *fields*."""
    return [one for one in records(gateway) if one["event"] == event and fields.items() <= one.items()]


def metrics(gateway: Gateway, sample: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Scrape, and return the value of each series of *sample* by its labels."""
    with urllib.request.urlopen(f"http://{gateway.metrics}/metrics", timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    families = list(text_string_to_metric_families(text))
    return {
        tuple(sorted(found.labels.items())): found.value
        for family in families
        for found in family.samples
        if found.name == sample
    }


class Usage(NamedTuple):
    """What a process holds."""

    rss_mib: float
    files: int
    threads: int


def usage(gateway: Gateway) -> Usage:
    """Look at the gateway's process from outside."""
    process = psutil.Process(gateway.pid)
    return Usage(process.memory_info().rss / MIB, process.num_fds(), process.num_threads())
