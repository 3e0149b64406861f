"""`turnout.v1.RankingService`."""

from __future__ import annotations

from turnout.v1 import ranking_service_pb2 as pb
from turnout_server.rpc.turnout_v1 import typed
from turnout_server.tasks import features, ranking
from turnout_server.transport.call import Call
from turnout_server.vocabulary.query import Prepare
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Arrays


def copied(message: bytes) -> Prepare:
    """Return what makes the inputs of a `RankRequest` that was answered once already."""
    return _preparing(pb.RankRequest.FromString(message))


def _preparing(request: pb.RankRequest) -> Prepare:
    rows = len(request.candidate_ids)
    ranking.check(rows, request.top_k)
    context = typed.feature_columns(request.context_features)
    candidates = typed.feature_columns(request.candidate_features)
    candidates += typed.matrix_columns(request.candidate_matrix, "candidate_matrix")
    columns = ranking.columns(context, candidates)

    def prepare(signature: Signature) -> Arrays:
        return features.pack(signature, columns, rows)

    return prepare


class RankingService:
    """Ranks the candidates that a caller already has."""

    def __init__(self, data_plane: typed.Infers) -> None:
        """Answer from *data_plane*."""
        self._data_plane = data_plane

    async def Rank(self, request: pb.RankRequest, call: Call) -> pb.RankResponse:
        """Score each candidate in one context and order them; no candidates get an empty answer, with `served`."""
        ids = request.candidate_ids
        prepare = _preparing(request)
        prediction = await self._data_plane.infer(typed.query(request.selector, call, Task.RANKING, prepare))
        ranked = ranking.order(ranking.scores(prediction.outputs, len(ids)), request.top_k)
        response = pb.RankResponse(served=typed.served(prediction.decision, prediction.request_id))
        for position, score in ranked:
            response.candidates.add(id=ids[position], score=score, index=position)
        return response
