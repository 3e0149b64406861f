"""Whether a server answers what the graph answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import grpc
import numpy as np

from benchmarks.field.scenarios import Scenario
from benchmarks.field.servers import Running
from benchmarks.processes import METHOD, ServerFailedError
from turnout_server.onnx.binding import open_session
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, Arrays

_RELATIVE, _ABSOLUTE = 1e-5, 1e-6


def expected(scenario: Scenario) -> Iterator[dict[str, Array]]:
    """Yield the graph's own outputs for each request."""
    session = open_session(scenario.file, RuntimeOptions())
    names = [spec.name for spec in scenario.signature.outputs]
    for inputs in scenario.inputs:
        yield dict(zip(names, session.run(names, dict(inputs)), strict=True))


def check(server: Running, scenarios: Mapping[str, Scenario]) -> int:
    """Compare the answers to all requests, sent one by one, with the graph's own; return how many there were.

    Raises:
        ServerFailedError: one differs.
    """
    count = 0
    with grpc.insecure_channel(server.address) as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, pb.ModelInferResponse] = channel.unary_unary(
            METHOD, response_deserializer=pb.ModelInferResponse.FromString
        )
        for scenario in scenarios.values():
            for body, outputs in zip(scenario.bodies(), expected(scenario), strict=True):
                try:
                    wrong = difference(infer(body, timeout=30), outputs)
                except grpc.RpcError as error:
                    wrong = f"{error.code().name} {error.details()}"
                if wrong:
                    raise ServerFailedError(f"{server.setup.name} answers {scenario.name} wrongly: {wrong}")
                count += 1
    return count


def raw_of(server: Running, scenario: Scenario) -> tuple[bytes, ...]:
    """Return the raw contents of the answers to all requests, sent one by one."""
    with grpc.insecure_channel(server.address) as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, pb.ModelInferResponse] = channel.unary_unary(
            METHOD, response_deserializer=pb.ModelInferResponse.FromString
        )
        return tuple(b"".join(infer(body, timeout=30).raw_output_contents) for body in scenario.bodies())


def difference(response: pb.ModelInferResponse, outputs: Arrays) -> str:
    """Say how *response* differs from *outputs*; nothing if it does not.

    Whole numbers must be equal, and others nearly so. A shape may have a 1 more at its end: MLServer's do.
    """
    found = {output.name: index for index, output in enumerate(response.outputs)}
    if found.keys() != outputs.keys():
        return f"outputs are {', '.join(found)} and not {', '.join(outputs)}"
    for name, wanted in outputs.items():
        output, raw = response.outputs[found[name]], response.raw_output_contents[found[name]]
        if tuple(output.shape) not in (wanted.shape, (*wanted.shape, 1)):
            return f"{name} has shape {list(output.shape)} and not {list(wanted.shape)}"
        got = np.frombuffer(raw, NUMPY_DTYPES[output.datatype])
        exact = wanted.dtype.kind in "iu"
        flat = wanted.ravel()
        if got.dtype != flat.dtype or got.size != flat.size:
            return f"{name} is {got.size} of {got.dtype} and not {flat.size} of {flat.dtype}"
        if not (np.array_equal(got, flat) if exact else np.allclose(got, flat, rtol=_RELATIVE, atol=_ABSOLUTE)):
            return f"{name} has other values"
    return ""
