"""The ways to ask for the same thing: what goes over the wire, and what of the answer is looked at."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from turnout.v1 import features_pb2, ranking_service_pb2
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, Arrays

_RELATIVE, _ABSOLUTE = 1e-5, 1e-6


class Way(NamedTuple):
    """One way to ask."""

    method: str
    """package.Service/Method."""
    encode: Callable[[str, Signature, Arrays], bytes]
    """Makes a serialised request for a route out of the inputs."""
    field: int
    """Of the answer: its contents are what must not differ from call to call."""
    nearly: bool
    """Whether the contents are numbers, which may be off by rounding; else they are compared as bytes."""
    contents: Callable[[bytes], bytes]
    """Returns that field's contents in a serialised answer, one after the other."""
    difference: Callable[[bytes, Arrays], str]
    """Says how a serialised answer differs from the graph's own outputs; nothing if it does not."""


def encode(model: str, signature: Signature, arrays: Arrays) -> bytes:
    """Return a serialised `ModelInferRequest` with raw contents."""
    request = pb.ModelInferRequest(model_name=model)
    for spec in signature.inputs:
        array = arrays[spec.name]
        request.inputs.add(name=spec.name, datatype=spec.dtype.value, shape=array.shape)
        request.raw_input_contents.append(_raw(array))
    return request.SerializeToString()


def decode(body: bytes) -> tuple[str, dict[str, Array]]:
    """Return the model and the inputs of a serialised `ModelInferRequest` with raw contents that are numbers."""
    request = pb.ModelInferRequest.FromString(body)
    return request.model_name, {
        one.name: np.frombuffer(raw, NUMPY_DTYPES[one.datatype]).reshape(tuple(one.shape))
        for one, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def _raw(array: Array) -> bytes:
    if not array.dtype.hasobject:
        return array.tobytes()
    elements = [text.encode() for text in array.ravel()]
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def _raw_contents(answer: bytes) -> bytes:
    return b"".join(pb.ModelInferResponse.FromString(answer).raw_output_contents)


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
        if not (np.array_equal(got, flat) if exact else _are_near(got, flat)):
            return f"{name} has other values"
    return ""


def _are_near(got: Array, wanted: Array) -> bool:
    return np.allclose(got, wanted, rtol=_RELATIVE, atol=_ABSOLUTE)


# ---------------------------------------------------------------- ranking, typed


def _rank(model: str, arrays: Arrays) -> tuple[ranking_service_pb2.RankRequest, Array]:
    """Return a request for all candidates in order, without their features, and these: one matrix."""
    (matrix,) = arrays.values()
    request = ranking_service_pb2.RankRequest(candidate_ids=[f"item-{row}" for row in range(len(matrix))])
    request.selector.name = model
    return request, matrix


def _names(signature: Signature) -> list[str]:
    (spec,) = signature.inputs
    assert spec.columns is not None
    return [column.name for column in spec.columns]


def rank_by_columns(model: str, signature: Signature, arrays: Arrays) -> bytes:
    """Return a serialised `RankRequest` with a column for each feature."""
    request, matrix = _rank(model, arrays)
    for name, values in zip(_names(signature), matrix.T, strict=True):
        values = features_pb2.FloatValues(values=values.tolist())
        request.candidate_features.append(features_pb2.FeatureColumn(name=name, floats=values))
    return request.SerializeToString()


def rank_by_matrix(model: str, signature: Signature, arrays: Arrays) -> bytes:
    """Return a serialised `RankRequest` with one packed matrix of all features."""
    request, matrix = _rank(model, arrays)
    request.candidate_matrix.names.extend(_names(signature))
    request.candidate_matrix.values.extend(matrix.ravel().tolist())
    return request.SerializeToString()


def _candidates(answer: bytes) -> bytes:
    return b"".join(one.SerializeToString() for one in ranking_service_pb2.RankResponse.FromString(answer).candidates)


def rank_difference(response: ranking_service_pb2.RankResponse, outputs: Arrays) -> str:
    """Say how *response* differs from what follows from the scores in *outputs*; nothing if it does not."""
    (scores,) = (one.ravel() for one in outputs.values())
    places = [one.index for one in response.candidates]
    if sorted(places) != list(range(len(scores))):
        return f"{len(places)} candidates are not the {len(scores)} of the request"
    if any(one.id != f"item-{one.index}" for one in response.candidates):
        return "a candidate has another one's id"
    got = np.array([one.score for one in response.candidates], np.float32)
    if not _are_near(got, scores[places]):
        return "a candidate has another score"
    return "" if np.all(np.diff(got) <= 0) else "the best candidate is not the first"


# ---------------------------------------------------------------- all ways

_RANK = "turnout.v1.RankingService/Rank"

INFER = Way(
    "inference.GRPCInferenceService/ModelInfer",
    encode,
    field=6,
    nearly=True,
    contents=_raw_contents,
    difference=lambda answer, outputs: difference(pb.ModelInferResponse.FromString(answer), outputs),
)
COLUMNS = Way(
    _RANK,
    rank_by_columns,
    field=1,
    nearly=False,
    contents=_candidates,
    difference=lambda answer, outputs: rank_difference(ranking_service_pb2.RankResponse.FromString(answer), outputs),
)
MATRIX = COLUMNS._replace(encode=rank_by_matrix)
