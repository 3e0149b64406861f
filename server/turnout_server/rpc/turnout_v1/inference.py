"""`turnout.v1.InferenceService`."""

from __future__ import annotations

from turnout.v1 import inference_service_pb2 as pb
from turnout_server.rpc.turnout_v1 import named_tensors, typed
from turnout_server.tasks import features, inference
from turnout_server.transport.call import Call
from turnout_server.vocabulary.query import Prepare
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.tensors import Arrays


def copied(message: bytes) -> Prepare:
    """Return what makes the inputs of an `InferRequest` that was answered once already."""
    return _preparing(pb.InferRequest.FromString(message))


def _preparing(request: pb.InferRequest) -> Prepare:
    inference.check_tensors(len(request.tensors))
    matrix = typed.matrix_columns(request.feature_matrix, "feature_matrix")
    columns = features.collect(typed.feature_columns(request.features), matrix)
    tensors = [named_tensors.decode(tensor) for tensor in request.tensors]

    def prepare(signature: Signature) -> Arrays:
        return inference.pack(signature, columns, tensors)

    return prepare


class InferenceService:
    """Asks any model: features by name, whole tensors, or both."""

    def __init__(self, data_plane: typed.Infers) -> None:
        """Answer from *data_plane*."""
        self._data_plane = data_plane

    async def Infer(self, request: pb.InferRequest, call: Call) -> pb.InferResponse:
        """Run a model once and return its outputs."""
        wanted = inference.wanted(request.outputs)
        prediction = await self._data_plane.infer(
            typed.query(request.selector, call, None, _preparing(request), wanted)
        )
        return pb.InferResponse(
            outputs=named_tensors.encode(prediction), served=typed.served(prediction.decision, prediction.request_id)
        )
