"""`turnout.v1.RecommendationService`."""

from __future__ import annotations

from turnout.v1 import recommendation_service_pb2 as pb
from turnout_server.rpc.turnout_v1 import typed
from turnout_server.tasks import recommendation
from turnout_server.transport.call import Call
from turnout_server.vocabulary.query import Prepare
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Arrays


def copied(message: bytes) -> Prepare:
    """Return what makes the inputs of a `RecommendRequest` that was answered once already."""
    return _preparing(pb.RecommendRequest.FromString(message))[0]


def _preparing(request: pb.RecommendRequest) -> tuple[Prepare, int]:
    """Return what makes the inputs, and how many items are wished for."""
    wished = recommendation.wish(request.history_item_ids, request.excluded_item_ids, request.top_k)

    def prepare(signature: Signature) -> Arrays:
        return recommendation.arrays(signature, wished)

    return prepare, wished.k


class RecommendationService:
    """Recommends items to a user."""

    def __init__(self, data_plane: typed.Infers) -> None:
        """Answer from *data_plane*."""
        self._data_plane = data_plane

    async def Recommend(self, request: pb.RecommendRequest, call: Call) -> pb.RecommendResponse:
        """Return the best items for one user's history."""
        prepare, k = _preparing(request)
        prediction = await self._data_plane.infer(
            typed.query(request.selector, call, Task.RECOMMENDATION, prepare, recommendation.OUTPUTS)
        )
        response = pb.RecommendResponse(served=typed.served(prediction.decision, prediction.request_id))
        for item, score in recommendation.items(prediction.outputs, k):
            response.items.add(item_id=item, score=score)
        return response
