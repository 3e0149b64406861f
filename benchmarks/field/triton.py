"""NVIDIA's Triton, which somebody else starts: the models as it wants them, and where it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc

from benchmarks.field.scenarios import Scenario
from benchmarks.field.servers import Running, Setup, Workshop
from benchmarks.processes import ServerFailedError
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.signature import TensorSpec

ADDRESS, PID = "TRITON", "TRITON_PID"
"""The environment variables that say where it is: HOST:PORT of gRPC, and the process whose CPU counts."""
_MOST_ROWS = 64
"""Of a batch, as Turnout has it by default."""
_METADATA = "/inference.GRPCInferenceService/ServerMetadata"
_PATIENCE_S = 10.0


def given(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """Return HOST:PORT and the process of the Triton that *environment* names; nothing where it names none.

    Raises:
        ServerFailedError: it names only one of them, or something else.
    """
    address, pid = environment.get(ADDRESS, ""), environment.get(PID, "")
    if not address and not pid:
        return None
    if ":" not in address or not pid.isdecimal():
        raise ServerFailedError(f"{ADDRESS}={address} {PID}={pid}: expected HOST:PORT and the number of a process here")
    return address, int(pid)


def version(address: str) -> str:
    """Return what the server at *address* says that it is.

    Raises:
        ServerFailedError: it does not answer.
    """
    with grpc.insecure_channel(address) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METADATA)
        try:
            told = pb.ServerMetadataResponse.FromString(ask(b"", timeout=_PATIENCE_S, wait_for_ready=True))
        except grpc.RpcError as error:
            raise ServerFailedError(f"{ADDRESS}={address}: {error.code().name} {error.details()}") from error
    return f"{told.name} {told.version}"


@contextlib.contextmanager
def _there(setup: Setup, workshop: Workshop, bodies: Sequence[bytes]) -> Iterator[Running]:
    found = given(os.environ)
    if found is None:
        raise ServerFailedError(f"{ADDRESS} and {PID} do not say where Triton is")
    address, pid = found
    version(address)
    yield Running(setup, pid, address)


SETUPS: Mapping[str, tuple[Setup, ...]] = {
    "triton": (Setup("triton", "", f"as {ADDRESS} has it, started by somebody else", _there),)
}


# ---------------------------------------------------------------- its models


def write_repository(scenarios: Mapping[str, Scenario], root: Path) -> None:
    """Write every scenario's model into a new repository of Triton's at *root*."""
    for scenario in scenarios.values():
        version_1 = root / scenario.route / "1"
        version_1.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(scenario.file, version_1 / "model.onnx")
        (root / scenario.route / "config.pbtxt").write_text(configuration(scenario), encoding="utf-8")


def configuration(scenario: Scenario) -> str:
    """Return a model's `config.pbtxt`: one thread a run, as everywhere, and batches where a request leaves room."""
    signature = scenario.signature
    rows = max(len(array) for inputs in scenario.inputs for array in inputs.values())
    batches = rows < _MOST_ROWS and all(
        len(spec.shape) > 1 and spec.shape[0] == -1 for spec in (*signature.inputs, *signature.outputs)
    )
    lines = [
        f"name: {json.dumps(scenario.route)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {_MOST_ROWS if batches else 0}",
        *(_tensor("input", spec, batches) for spec in signature.inputs),
        *(_tensor("output", spec, batches) for spec in signature.outputs),
        "instance_group [ { kind: KIND_CPU } ]",
        *(_parameter(name, "1") for name in ("intra_op_thread_count", "inter_op_thread_count")),
    ]
    if batches:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"


def _tensor(kind: str, spec: TensorSpec, batches: bool) -> str:
    datatype = "STRING" if spec.dtype.value == "BYTES" else spec.dtype.value
    dims = ", ".join(map(str, spec.shape[batches:]))
    return f"{kind} [ {{ name: {json.dumps(spec.name)} data_type: TYPE_{datatype} dims: [ {dims} ] }} ]"


def _parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value: {{ string_value: "{value}" }} }}'
