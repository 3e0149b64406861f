"""`turnout.v1.PricingService`."""

from __future__ import annotations

from turnout.v1 import pricing_service_pb2 as pb
from turnout_server.rpc.turnout_v1 import typed
from turnout_server.tasks import features, price
from turnout_server.transport.call import Call
from turnout_server.vocabulary.query import Prepare
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Arrays


def copied(message: bytes) -> Prepare:
    """Return what makes the inputs of a `PredictPriceRequest` that was answered once already."""
    return _preparing(pb.PredictPriceRequest.FromString(message))[0]


def _preparing(request: pb.PredictPriceRequest) -> tuple[Prepare, int]:
    """Return what makes the inputs, and how many rows there are."""
    matrix = typed.matrix_columns(request.feature_matrix, "feature_matrix")
    columns = features.collect(typed.feature_columns(request.features), matrix)
    rows = price.rows(columns)

    def prepare(signature: Signature) -> Arrays:
        return features.pack(signature, columns, rows)

    return prepare, rows


class PricingService:
    """Predicts prices."""

    def __init__(self, data_plane: typed.Infers) -> None:
        """Answer from *data_plane*."""
        self._data_plane = data_plane

    async def PredictPrice(self, request: pb.PredictPriceRequest, call: Call) -> pb.PredictPriceResponse:
        """Predict a price, with an interval, for each row of features."""
        prepare, rows = _preparing(request)
        prediction = await self._data_plane.infer(
            typed.query(request.selector, call, Task.PRICE, prepare, price.OUTPUTS)
        )
        response = pb.PredictPriceResponse(served=typed.served(prediction.decision, prediction.request_id))
        for mid, low, high in price.prices(prediction.outputs, rows):
            response.prices.add(price=mid, low=low, high=high)
        return response
