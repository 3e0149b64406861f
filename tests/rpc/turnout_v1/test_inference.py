"""InferenceService translates; any graph answers."""

from __future__ import annotations

import pytest

from tests.rpc.turnout_v1.typed_fakes import DECISION, FakeCall, FakeDataPlane
from turnout.v1 import (
    FeatureColumn,
    FeatureMatrix,
    FloatValues,
    Selector,
    StringValues,
)
from turnout.v1 import inference_service_pb2 as pb
from turnout_server.rpc.turnout_v1 import inference, typed
from turnout_server.rpc.turnout_v1.inference import InferenceService
from turnout_server.tasks.inference import MOST_TENSORS
from turnout_server.vocabulary.errors import IncompleteError, InvalidFeatureError, InvalidRequestError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import Array, Arrays

AGE = TensorSpec("age", DType.FP32, (-1, 1))
CITY = TensorSpec("city", DType.BYTES, (-1, 1), default="Berlin")
FACE = TensorSpec("face", DType.FP32, (-1, 2))
OUTPUTS = (TensorSpec("risk", DType.FP32, (-1,)), TensorSpec("where", DType.BYTES, (-1, 1)))
SIGNATURE = Signature((AGE, CITY, FACE), OUTPUTS)


def graph(arrays: Arrays) -> dict[str, Array]:
    """Give back the city, and the age with what is in the face."""
    return {"risk": arrays["age"][:, 0] + arrays["face"].sum(axis=1), "where": arrays["city"]}


def request(**more: object) -> pb.InferRequest:
    face = pb.NamedTensor(name="face", shape=[2, 2], floats=FloatValues(values=[1, 2, 3, 4]))
    asked = pb.InferRequest(selector=Selector(name="risk", unit="u"), tensors=[face])
    asked.MergeFrom(pb.InferRequest(**more))  # type: ignore[arg-type]
    return asked


def floats(name: str, *values: float) -> FeatureColumn:
    return FeatureColumn(name=name, floats=FloatValues(values=values))


async def infer(asked: pb.InferRequest, plane: FakeDataPlane | None = None) -> pb.InferResponse:
    return await InferenceService(plane or FakeDataPlane(SIGNATURE, graph)).Infer(asked, FakeCall())


async def test_features_and_tensors_come_back_as_outputs_and_who_answered() -> None:
    plane = FakeDataPlane(SIGNATURE, graph)
    answer = await infer(request(features=[floats("age", 10, 20)]), plane)
    assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [
        ("risk", "FP32", [2]),
        ("where", "BYTES", [2, 1]),
    ]
    assert answer.outputs[0].floats.values[:] == [13, 27]
    assert answer.outputs[1].strings.values[:] == ["Berlin", "Berlin"]
    assert answer.served == typed.served(DECISION, "the-request")
    (query,) = plane.queries
    assert (query.name, query.unit, query.task, query.outputs) == ("risk", "u", None, ())


async def test_a_matrix_of_features_is_as_good_as_columns() -> None:
    city = FeatureColumn(name="city", strings=StringValues(values=["Rome"]))
    asked = request(features=[city], feature_matrix=FeatureMatrix(names=["age"], values=[10, 20]))
    answer = await infer(asked)
    assert answer.outputs[0].floats.values[:] == [13, 27]
    assert answer.outputs[1].strings.values[:] == ["Rome", "Rome"]


async def test_only_the_outputs_wanted_come_back_in_their_order() -> None:
    answer = await infer(request(features=[floats("age", 10)], outputs=["where", "risk"]))
    assert [one.name for one in answer.outputs] == ["where", "risk"]
    with pytest.raises(InvalidRequestError, match="'risk' is wanted twice"):
        await infer(request(features=[floats("age", 10)], outputs=["risk", "risk"]))


async def test_wrong_requests_are_refused() -> None:
    with pytest.raises(IncompleteError, match=r"feature 'age' \(FP32\) is missing"):
        await infer(request())
    with pytest.raises(InvalidFeatureError, match="'age': stands twice"):
        await infer(request(features=[floats("age", 1)], feature_matrix=FeatureMatrix(names=["age"], values=[1])))
    with pytest.raises(InvalidRequestError, match="name: is empty"):
        await infer(pb.InferRequest())
    many = pb.InferRequest(selector=Selector(name="risk"))
    many.MergeFromString(pb.InferRequest(tensors=[pb.NamedTensor()]).SerializeToString() * (MOST_TENSORS + 1))
    with pytest.raises(InvalidRequestError, match="tensors: found 10001"):
        await infer(many)


async def test_a_copy_gets_the_same_inputs() -> None:
    asked = request(features=[floats("age", 10)])
    plane = FakeDataPlane(SIGNATURE, graph)
    await infer(asked, plane)
    copied = inference.copied(asked.SerializeToString())(SIGNATURE)
    assert {name: array.tolist() for name, array in copied.items()} == {
        name: array.tolist() for name, array in plane.arrays[0].items()
    }
