"""What the engine reads and writes of `Infer` is what Python reads and writes."""

from __future__ import annotations

import math
import random
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from tests.differential import infers, tensors
from tests.engine.test_oip import flipped
from tests.engine.test_typed import METADATA, Method, check, in_python, natively
from tests.engine.wires import rewriter
from tests.rpc.inference import FakeCall, texts
from turnout.v1 import FeatureColumn, FloatValues, Selector
from turnout.v1 import inference_service_pb2 as pb
from turnout_server.rpc.turnout_v1.inference import InferenceService
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, Arrays

pytest.importorskip("turnout_engine")

_VALUES: dict[int, Any] = {4: {}, 5: {}, 6: {}, 7: {}, 8: {}, 9: {}}
INFER = Method(
    "turnout.v1.InferenceService/Infer",
    pb.InferRequest,
    lambda plane, request: InferenceService(plane).Infer(request, FakeCall(METADATA)),
    {1: {}, 2: {2: {}, 3: {}, 4: {}}, 3: {}, 4: _VALUES},
)
SHAPES = ((-1,), (-1, 1), (-1, 2), (-1, -1), (-1, 2, 1), (1,), (), (2,), (1, 1))
SEEDS = 1000


class Case(NamedTuple):
    """A request, whom it is for, and what that says."""

    request: pb.InferRequest
    signature: Signature
    outputs: Arrays


def made_signature(dice: Random) -> Signature:
    inputs = []
    for place in range(dice.randint(1, 4)):
        dtype, shape = dice.choice(list(DType)), dice.choice(SHAPES)
        default: Any = None
        if dice.random() < 0.3:
            default = {DType.BYTES: "d", DType.BOOL: True}.get(dtype, 1)
        if shape == (-1, 2) and dtype is not DType.BYTES and dice.random() < 0.7:
            names = (f"{place}a", dice.choice((f"{place}b", "shared")))
            columns = tuple(Column(name, dice.choice((None, None, 1.0))) for name in names)
            inputs.append(TensorSpec(f"m{place}", dtype, shape, columns=columns))
        else:
            inputs.append(TensorSpec(dice.choice(("shared", f"i{place}", "é")) + str(place), dtype, shape, default))
    outputs = tuple(TensorSpec(f"o{place}", dice.choice(list(DType)), (-1,)) for place in range(dice.randint(1, 3)))
    bounds = {"max_elements": 40, "max_rows": 4} if dice.random() < 0.3 else {}
    return Signature(tuple(inputs), outputs, dice.random() < 0.7, **bounds)


def made_output(dice: Random, spec: TensorSpec) -> Array:
    shape = dice.choice(((3,), (0,), (1, 2), ()))
    elements = [tensors.element(dice, spec) for _ in range(math.prod(shape))]
    if spec.dtype is DType.BYTES:
        return texts(elements, shape)
    if spec.dtype is DType.FP16:  # processors make a number of a NaN that is a signal
        elements = [0.0 if np.isnan(one) else one for one in elements]
    return np.array(elements, NUMPY_DTYPES[spec.dtype]).reshape(shape)


def made_case(seed: int, *, odd: bool) -> Case:
    dice = Random(seed)
    signature = made_signature(dice)
    request = infers.infer(dice, signature)[0] if odd else infers.plain(dice, signature)
    request.selector.CopyFrom(Selector(name="r", unit=dice.choice(("", "u"))))
    return Case(request, signature, {spec.name: made_output(dice, spec) for spec in signature.outputs})


def hold_alike(case: Case) -> str:
    """See that both make the same of a request; return who answered."""
    wire = case.request.SerializeToString()
    try:
        in_python(INFER, wire, case.signature, case.outputs)
    except TurnoutError:
        assert natively(INFER, wire, case.signature) is None
        return "refused"
    if check(INFER, wire, case.signature, case.outputs):
        return "engine"
    assert infers.is_for_python(case.request, case.signature), case
    return "python"


@pytest.mark.parametrize("odd", [False, True])
def test_requests_are_taken_and_answered_alike(odd: bool) -> None:
    found = [hold_alike(made_case(seed, odd=odd)) for seed in range(SEEDS)]
    assert {who: found.count(who) > SEEDS / 20 for who in ("engine", "python", "refused")} == {
        "engine": True,
        "python": True,
        "refused": True,
    }


@pytest.mark.parametrize("how", ["flipped", "rewritten"])
def test_what_is_taken_of_broken_messages_is_read_alike(how: str) -> None:
    change = flipped if how == "flipped" else rewriter(INFER.fields)
    taken = 0
    for seed in range(SEEDS // 6):
        case, dice = made_case(seed, odd=False), random.Random(seed)
        wire = case.request.SerializeToString()
        for _ in range(10):
            try:
                taken += check(INFER, change(wire, dice), case.signature, case.outputs)
            except DecodeError as error:
                raise AssertionError("the engine takes what is no message") from error
            except TurnoutError as error:
                raise AssertionError(f"the engine takes what Python refuses: {error.message}") from error
    assert taken


def test_a_feature_called_as_an_input_that_is_none_is_left_to_python() -> None:
    """It may be a column of a matrix as well."""
    matrix = TensorSpec("m", DType.FP32, (-1, 1), columns=(Column("k"),))
    signature = Signature((matrix, TensorSpec("k", DType.FP32, (1,))), (TensorSpec("y", DType.FP32, (-1,)),))
    k = pb.NamedTensor(name="k", shape=[1], floats=FloatValues(values=[1]))
    column = FeatureColumn(name="k", floats=FloatValues(values=[1]))
    request = pb.InferRequest(selector=Selector(name="r"), tensors=[k], features=[column])
    assert hold_alike(Case(request, signature, {"y": np.zeros(1, np.float32)})) == "refused"


@pytest.mark.parametrize(("rows", "who"), [(3, "engine"), (4, "refused")])
def test_tensors_are_taken_as_far_as_their_versions_bounds_go(rows: int, who: str) -> None:
    specs = (TensorSpec("x", DType.FP32, (-1, 2)), TensorSpec("age", DType.FP32, (-1,), default=1.0))
    signature = Signature(specs, (TensorSpec("y", DType.FP32, (-1,)),), max_elements=9)
    x = pb.NamedTensor(name="x", shape=[rows, 2], raw=bytes(rows * 8))
    request = pb.InferRequest(selector=Selector(name="r"), tensors=[x])
    assert hold_alike(Case(request, signature, {"y": np.zeros(rows, np.float32)})) == who
