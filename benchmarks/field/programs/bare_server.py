"""The floor: what grpc.aio on uvloop costs at least. It parses a request, runs the session, and answers raw.

    python bare_server.py DIRECTORY PORT

There is no routing, batching, checking, admission, tracing, counting, health or reflection. Needs Turnout's stubs for
the messages, and nothing else of it.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop
from onnx_session import DATATYPES, DTYPES, Session, models_in

from turnout_server.rpc.stubs import open_inference_pb2 as pb


async def main(directory: Path, port: int) -> None:
    """Serve the models in *directory* until the process ends."""
    sessions = {model: Session(path) for model, path in models_in(directory).items()}

    async def infer(request: pb.ModelInferRequest, _: Any) -> pb.ModelInferResponse:
        inputs = {
            tensor.name: decode(tensor, raw)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        response = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
        for name, array in sessions[request.model_name].run(inputs).items():
            response.outputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=pb.ModelInferRequest.FromString,
        response_serializer=pb.ModelInferResponse.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def decode(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes) -> np.ndarray:
    """Return one input as an array of its shape."""
    if tensor.datatype == "BYTES":
        return texts(raw).reshape(tuple(tensor.shape))
    if not raw:
        return np.empty(tuple(tensor.shape), DTYPES[tensor.datatype])
    return np.frombuffer(raw, DTYPES[tensor.datatype]).reshape(tuple(tensor.shape))


def texts(raw: bytes) -> np.ndarray:
    """Return the BYTES elements in *raw*, each with its length before it, as a flat array of `str`."""
    found = []
    start = 0
    while start < len(raw):
        (length,) = struct.unpack_from("<I", raw, start)
        start += 4 + length
        found.append(raw[start - length : start].decode())
    return np.array(found, dtype=object)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2])))
