"""ModelInfer requests: as they should be, and then wrong in one way or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from tests.differential import tensors
from tests.differential.tensors import Drawn
from tests.differential.world import BAD_VERSIONS, UNITS, VERSIONS, World
from tests.rpc.inference import DTYPES, FIELDS
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.signature import Signature

Request = pb.ModelInferRequest
Mutation = Callable[[Random, Request], object]

NAMES = ("", "nobody", "WHO", "漢", "who ", "x" * 256, "x" * 257, "a/b", "who\0", "-", "%s")
"""Names that nobody has."""
IDS = ("", "id", "id", "ü", "x" * 1024, "x" * 1025, "漢" * 1024, "a\nb", "-1")
PINS = (
    "1",
    "0",
    "-1",
    "02",
    "9" * 30,
    "9" * 300,
    "1.0",
    "champion",
    "Champion",
    "nonsense",
    "missing",
    "77",
    " 5",
    "٣",
    "broken",
    "ü",
)
NUMBERS = (0, 1, -1, 2**31, 2**63 - 1, -(2**63))
LONG_ENOUGH_US = 60_000_000
EXPIRED_US = 1
"""Microseconds that have passed before anybody can have read them."""


def inference(random: Random, world: World, name: str) -> tuple[Request, str]:
    """Return a request for *name*, and what is odd about it; more often than not, nothing is."""
    signature = world.signature(name)
    request = plain(random, signature, name)
    if random.random() < 0.5:
        request.parameters["unit_id"].string_param = random.choice((*UNITS[:-1], f"u-{random.randint(0, 10**6)}"))
    if random.random() < 0.1:
        request.model_version = str(random.choice((*VERSIONS, *BAD_VERSIONS, *PINS)))
    if random.random() < 0.3:
        request.id = random.choice(IDS[1:5])
    if random.random() < 0.25:
        select_outputs(random, request, signature)
    odd = random.choices((0, 1, 2, 3), (60, 27, 8, 5))[0]
    done = [random.choice(list(MUTATIONS)) for _ in range(odd)]
    for mutation in done:
        MUTATIONS[mutation](random, request)
    return request, " ".join(done)


def plain(random: Random, signature: Signature, name: str) -> Request:
    """Return a request of which all is right: raw, typed, or, where a tensor has no typed form, something of both."""
    request = Request(model_name=name)
    drawn = Drawn(random, signature)
    typed = random.random() < 0.25
    names = list(drawn)
    if random.random() < 0.2:
        random.shuffle(names)
    if typed and random.random() < 0.6:
        request.parameters["binary_data_output"].bool_param = True  # else it is for the server's configuration to say
    for spec in sorted(signature.inputs, key=lambda spec: names.index(spec.name)):
        elements = drawn[spec.name]
        tensor = request.inputs.add(name=spec.name, datatype=spec.dtype.value, shape=drawn.shapes[spec.name])
        if typed:
            tensors.fill(tensor.contents, spec.dtype.value, elements)
        else:
            request.raw_input_contents.append(tensors.raw(spec.dtype.value, elements))
    return request


def select_outputs(random: Random, request: Request, signature: Signature) -> None:
    """Ask for some outputs, in any order."""
    for spec in random.sample(signature.outputs, random.randint(1, len(signature.outputs))):
        request.outputs.add(name=spec.name)


# ---------------------------------------------------------------- what may be wrong


def _tensor(change: Callable[[Random, Any], object]) -> Mutation:
    """Change one input, if there is one."""

    def mutate(random: Random, request: Request) -> None:
        if request.inputs:
            change(random, random.choice(request.inputs))

    return mutate


def _raw(change: Callable[[Random, bytes], bytes]) -> Mutation:
    """Change one input's raw bytes, if there are any."""

    def mutate(random: Random, request: Request) -> None:
        if request.raw_input_contents:
            index = random.randrange(len(request.raw_input_contents))
            request.raw_input_contents[index] = change(random, request.raw_input_contents[index])

    return mutate


def _parameter(name: str, **kinds: tuple[Any, ...]) -> Mutation:
    """Set a parameter of the request to one of the values that *kinds* has by their fields."""

    def mutate(random: Random, request: Request) -> None:
        _set(random, request.parameters[name], kinds)

    return mutate


def _set(random: Random, parameter: pb.InferParameter, kinds: Mapping[str, tuple[Any, ...]]) -> None:
    kind = random.choice(list(kinds))
    if kind != "nothing":
        setattr(parameter, f"{kind}_param", random.choice(kinds[kind]))


ANYTHING: Mapping[str, tuple[Any, ...]] = {
    "string": ("", "1", "true", "漢", "x" * 1025),
    "int64": NUMBERS,
    "uint64": (0, 1, 2**64 - 1),
    "bool": (True, False),
    "double": (0.0, 1.5, float("nan"), float("-inf")),
    "nothing": (None,),
}
"""Values of every kind that a parameter may have."""


def _reshape(random: Random, tensor: Any) -> None:
    shape = list(tensor.shape)
    choice = random.randrange(4)
    if choice == 0 or not shape:
        shape.insert(random.randint(0, len(shape)), random.choice((0, 1, 2)))
    elif choice == 1:
        shape.pop(random.randrange(len(shape)))
    else:
        shape[random.randrange(len(shape))] = random.choice((0, -1, random.randint(0, 9), 2**62, 2**40))
    tensor.ClearField("shape")
    tensor.shape.extend(shape)


def _datatype(random: Random, tensor: Any) -> None:
    tensor.datatype = random.choice((*DTYPES, "", "fp32", "BF16", "FP8", "x" * 300, "漢"))


def _other_contents(random: Random, tensor: Any) -> None:
    field = random.choice(sorted({*FIELDS.values()}))
    value = {"bytes_contents": b"\xff", "bool_contents": True}.get(field, 1)
    getattr(tensor.contents, field).append(value)


def _much(random: Random, tensor: Any) -> None:
    """Give narrow dtypes a value that they do not hold, if the tensor has typed contents."""
    for field in ("int_contents", "uint_contents"):
        values = getattr(tensor.contents, field)
        if values:
            values[random.randrange(len(values))] = random.choice((128, 255, 256, 65535, 65536, 2**31 - 1))


def _double_input(random: Random, request: Request) -> None:
    if request.inputs:
        index = random.randrange(len(request.inputs))
        request.inputs.add().CopyFrom(request.inputs[index])
        if index < len(request.raw_input_contents):
            request.raw_input_contents.append(request.raw_input_contents[index])


def _drop_input(random: Random, request: Request) -> None:
    if request.inputs:
        index = random.randrange(len(request.inputs))
        del request.inputs[index]
        if index < len(request.raw_input_contents) and random.random() < 0.7:
            del request.raw_input_contents[index]


def _fewer_raw(random: Random, request: Request) -> None:
    if request.raw_input_contents:
        del request.raw_input_contents[random.randrange(len(request.raw_input_contents))]


def _shared(random: Random, parameters: Any) -> None:
    given = random.sample(("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"), 2)
    for name in given:
        if name.endswith("region"):
            _set(random, parameters[name], {"string": ("region", ""), "int64": (1,)})
        else:
            _set(random, parameters[name], {"int64": (0, 4, -1), "uint64": (8,), "string": ("4",)})


def _output(random: Random, request: Request) -> Any:
    return random.choice(request.outputs) if request.outputs else request.outputs.add(name="y")


def _double_output(random: Random, request: Request) -> None:
    _output(random, request)
    request.outputs.add(name=request.outputs[0].name)


MUTATIONS: Mapping[str, Mutation] = {
    # inputs
    "datatype": _tensor(_datatype),
    "shape": _tensor(_reshape),
    "input-name": _tensor(lambda random, tensor: setattr(tensor, "name", random.choice(NAMES))),
    "input-parameter": _tensor(lambda random, tensor: _set(random, tensor.parameters["any"], ANYTHING)),
    "input-shared": _tensor(lambda random, tensor: _shared(random, tensor.parameters)),
    "empty-contents": _tensor(lambda random, tensor: tensor.contents.SetInParent()),
    "other-contents": _tensor(_other_contents),
    "no-contents": _tensor(lambda random, tensor: tensor.ClearField("contents")),
    "much": _tensor(_much),
    "double-input": _double_input,
    "drop-input": _drop_input,
    "no-inputs": lambda random, request: request.ClearField("inputs"),
    "many-inputs": lambda random, request: request.inputs.extend([request.InferInputTensor()] * 10_001),
    # raw contents
    "raw-longer": _raw(lambda random, data: data + random.randbytes(random.choice((1, 2, 4, 8)))),
    "raw-shorter": _raw(lambda random, data: data[: -random.choice((1, 2, 4, 8))]),
    "raw-empty": _raw(lambda random, data: b""),
    "raw-noise": _raw(lambda random, data: random.randbytes(len(data))),
    "raw-ones": _raw(lambda random, data: b"\xff" * len(data)),
    "more-raw": lambda random, request: request.raw_input_contents.append(random.choice((b"", b"abcd"))),
    "fewer-raw": _fewer_raw,
    "no-raw": lambda random, request: request.ClearField("raw_input_contents"),
    # outputs
    "unknown-output": lambda random, request: request.outputs.add(name=random.choice(NAMES)),
    "double-output": _double_output,
    "many-outputs": lambda random, request: request.outputs.extend([request.InferRequestedOutputTensor()] * 10_001),
    "output-shared": lambda random, request: _shared(random, _output(random, request).parameters),
    "classification": lambda random, request: _set(
        random, _output(random, request).parameters["classification"], ANYTHING
    ),
    "output-parameter": lambda random, request: _set(random, _output(random, request).parameters["any"], ANYTHING),
    # whom it asks, and on whose behalf
    "name": lambda random, request: setattr(request, "model_name", random.choice(NAMES)),
    "pin": lambda random, request: setattr(request, "model_version", random.choice(PINS)),
    "id": lambda random, request: setattr(request, "id", random.choice(IDS)),
    "unit": _parameter("unit_id", **ANYTHING),
    "text-unit": _parameter("unit_id", string=UNITS),
    # parameters
    "timeout": _parameter("timeout", int64=(LONG_ENOUGH_US, EXPIRED_US, 0, -1), uint64=(2**64 - 1,), string=("5",)),
    "expired": _parameter("timeout", int64=(EXPIRED_US,)),
    "priority": _parameter("priority", **ANYTHING),
    "binary": _parameter("binary_data_output", bool=(True, False)),
    "binary-wrong": _parameter("binary_data_output", **ANYTHING),
    "sequence": _parameter("sequence_id", **ANYTHING),
    "sequence-start": _parameter("sequence_start", **ANYTHING),
    "final": _parameter("triton_enable_empty_final_response", **ANYTHING),
    "unknown-parameter": _parameter("temperature", **ANYTHING),
    "own-parameter": _parameter("turnout_route", **ANYTHING),
}
"""What may be done to a request, by name."""
