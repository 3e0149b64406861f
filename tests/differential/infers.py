"""`turnout.v1` Infer requests: inputs as features, as tensors in every form, or left out; some of it wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

from tests.differential.tensors import Drawn
from tests.rpc.inference import NUMPY
from turnout.v1 import features_pb2
from turnout.v1 import inference_service_pb2 as pb
from turnout_server.tasks import features
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

Mutation = Callable[[Random, pb.InferRequest], object]
FLOATS = ("FP16", "FP32", "FP64")
WHOLE = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")


def plain(random: Random, signature: Signature) -> pb.InferRequest:
    """Return a request of which all is right, but for whom it asks."""
    request = pb.InferRequest()
    drawn = Drawn(random, signature)
    by_features = random.random()
    specs = list(signature.inputs)
    if random.random() < 0.2:
        random.shuffle(specs)
    for spec in specs:
        elements, shape = drawn[spec.name], drawn.shapes[spec.name]
        if spec.columns and random.random() < by_features:
            _matrix(random, request, spec, shape[0])
        elif not spec.columns and math.prod(shape[1:]) == 1 and random.random() < by_features:
            request.features.append(column(random, spec, elements))
        elif spec.default is None or random.random() < 0.7:
            request.tensors.append(tensor(random, spec, shape, elements))
    if random.random() < 0.25:
        request.outputs.extend(random.sample([spec.name for spec in signature.outputs], 1))
    return request


def column(random: Random, spec: TensorSpec, elements: Sequence[Any]) -> features_pb2.FeatureColumn:
    """Return a feature with *elements*, in a field that has room for them."""
    found = features_pb2.FeatureColumn(name=spec.name)
    elements = elements[:1] if elements and random.random() < 0.2 else elements
    if spec.dtype is DType.BYTES:
        found.strings.values.extend(elements)
        found.strings.SetInParent()
    elif spec.dtype.value in WHOLE or spec.dtype is DType.BOOL:
        found.integers.values.extend(min(int(one), 2**63 - 1) for one in elements)
        found.integers.SetInParent()
    else:
        found.floats.values.extend(_single(one) for one in elements)
        found.floats.SetInParent()
    return found


def tensor(random: Random, spec: TensorSpec, shape: Sequence[int], elements: Sequence[Any]) -> pb.NamedTensor:
    """Return a tensor in one of the forms that there are for it, now and then of another type than the model's."""
    found = pb.NamedTensor(name=spec.name, shape=shape)
    kind = spec.dtype.value
    if kind == "BYTES":
        blobs = random.random() < 0.3
        values: Any = found.blobs if blobs else found.strings
        values.values.extend([one.encode() for one in elements] if blobs else elements)
        values.SetInParent()
    elif random.random() < 0.4:
        sent = kind if random.random() < 0.7 else random.choice((*FLOATS, *WHOLE))
        if sent != kind:
            elements = [min(100, abs(int(one))) if np.isfinite(one) else 1 for one in elements]
        found.raw = np.array(elements, NUMPY[sent]).tobytes()
        if sent != kind or random.random() < 0.5:
            found.datatype = sent
        return found
    elif kind in FLOATS or random.random() < 0.1:
        if random.random() < (0.7 if kind == "FP64" else 0.3):
            found.doubles.values.extend(float(one) for one in elements)
            found.doubles.SetInParent()
        else:
            found.floats.values.extend(_single(one) for one in elements)
            found.floats.SetInParent()
    elif kind == "UINT64" or (min(map(int, elements), default=0) >= 0 and random.random() < 0.2):
        found.unsigneds.values.extend(map(int, elements))
        found.unsigneds.SetInParent()
    else:
        found.integers.values.extend(map(int, elements))
        found.integers.SetInParent()
    if random.random() < 0.2:
        found.datatype = kind
    return found


def _matrix(random: Random, request: pb.InferRequest, spec: TensorSpec, rows: int) -> None:
    names = [one.name for one in spec.columns if one.default is None or random.random() < 0.8]
    if random.random() < 0.5:
        random.shuffle(names)
    values = [random.choice((0.0, 1.0, -2.5, math.nan, math.inf)) for _ in range(rows * len(names))]
    if random.random() < 0.7:
        request.feature_matrix.names.extend(names)
        request.feature_matrix.values.extend(values)
    else:
        for place, name in enumerate(names):
            one = features_pb2.FeatureColumn(name=name)
            one.floats.values.extend(values[place :: len(names)])
            one.floats.SetInParent()
            request.features.append(one)


def _single(value: Any) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))


# ---------------------------------------------------------------- what may be wrong


def _in_tensor(change: Callable[[Random, pb.NamedTensor], object]) -> Mutation:
    def mutate(random: Random, request: pb.InferRequest) -> None:
        if request.tensors:
            change(random, random.choice(request.tensors))

    return mutate


def _twice(random: Random, request: pb.InferRequest) -> None:
    field: Any = random.choice((request.tensors, request.features))
    if field:
        field.append(random.choice(field))


def _left_out(random: Random, request: pb.InferRequest) -> None:
    field: Any = random.choice((request.tensors, request.features))
    if field:
        del field[random.randrange(len(field))]


def _both_ways(random: Random, request: pb.InferRequest) -> None:
    if request.tensors:
        name = random.choice(request.tensors).name
        request.features.add(name=name).floats.values.append(1.0)


def _another_feature(random: Random, request: pb.InferRequest) -> None:
    name = random.choice(("nobody", "", "x", "features", "carat", "n" * 300))
    request.features.add(name=name).floats.values.append(1.0)


MUTATIONS: dict[str, Mutation] = {
    "twice": _twice,
    "left-out": _left_out,
    "both-ways": _both_ways,
    "another-feature": _another_feature,
    "no-values": lambda random, request: request.features.add(name="age"),
    "another-tensor": lambda random, request: request.tensors.add(name="nobody", raw=b""),
    "another-output": lambda random, request: request.outputs.append(random.choice(("nobody", "y", "o" * 300))),
    "outputs-again": lambda random, request: request.outputs.extend(list(request.outputs)),
    "datatype": _in_tensor(
        lambda random, one: setattr(one, "datatype", random.choice(("FP32", "INT64", "BYTES", "float", "BOOL", "BF16")))
    ),
    "shape": _in_tensor(
        lambda random, one: one.shape.append(random.choice((1, 0, -1, 2**62))) if random.random() < 0.5 else None
    ),
    "size": _in_tensor(
        lambda random, one: one.shape.__setitem__(0, random.choice((0, 1, 2, -1, 2**62))) if one.shape else None
    ),
    "raw": _in_tensor(lambda random, one: setattr(one, "raw", random.randbytes(random.choice((0, 4, 8, 16))))),
    "floats": _in_tensor(
        lambda random, one: one.floats.values.extend(random.choice((0.5, math.nan, 1e30)) for _ in range(2))
    ),
    "integers": _in_tensor(lambda random, one: one.integers.values.append(random.choice((300, -1, 2**62)))),
    "blobs": _in_tensor(lambda random, one: one.blobs.values.append(random.choice((b"a", b"\xff")))),
}


def infer(random: Random, signature: Signature) -> tuple[pb.InferRequest, str]:
    """Return a request for a model with *signature*, and what is odd about it; more often than not, nothing is."""
    request = plain(random, signature)
    done = random.choices(list(MUTATIONS), k=random.choices((0, 1, 2), (65, 27, 8))[0])
    for mutation in done:
        MUTATIONS[mutation](random, request)
    return request, " ".join([*done, *(["for-python"] if is_for_python(request, signature) else [])])


def is_for_python(request: pb.InferRequest, signature: Signature) -> bool:
    """Say whether the engine may leave a request to Python that Python takes."""
    specs = {spec.name: spec for spec in signature.inputs}
    given = {tensor.name for tensor in request.tensors}
    if any(not features.is_feature(spec) and name not in given for name, spec in specs.items()):
        return True  # a default, or an input of one element by a feature
    if any(spec.dtype is DType.BF16 and name not in given for name, spec in specs.items()):
        return True
    return any(_is_for_python(tensor, specs[tensor.name].dtype) for tensor in request.tensors if tensor.name in specs)


def _is_for_python(tensor: pb.NamedTensor, dtype: DType) -> bool:
    field, halves = tensor.WhichOneof("values"), (DType.FP16, DType.BF16)
    if field == "raw":
        return tensor.datatype not in ("", dtype) and (tensor.datatype in halves or dtype in halves)
    if field == "floats" and any(map(math.isnan, tensor.floats.values)):
        return True
    return dtype is DType.BF16 or (dtype is DType.FP16 and field == "doubles")
