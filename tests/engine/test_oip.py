"""What the engine reads and writes of the Open Inference Protocol is what Python reads and writes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.engine.wires import rewrite
from tests.rpc.inference import DTYPES, FIELDS, NUMPY, FakeCall, identity, predicted, raw_bytes, request_of, texts
from tests.rpc.open_inference.test_codec_properties import mutate
from turnout_server.engine import snapshot
from turnout_server.execution.measures import Measures, outputs_wanted
from turnout_server.rpc.open_inference import codec, parameters, raw_tensors
from turnout_server.rpc.open_inference.shared_memory import SharedMemory
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.scheduling.item import level_of
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array

engine = pytest.importorskip("turnout_engine")

OFF = SharedMemory()
METADATA = {"x-turnout-unit": "theirs", "x-request-id": "their-id"}

wire_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def natively(wire: bytes, metadata: Mapping[str, str], signature: Signature) -> tuple | None:
    return engine.parse_infer(wire, dict(metadata), snapshot.signature(signature))


def in_python(wire: bytes, metadata: Mapping[str, str], signature: Signature) -> tuple:
    """Return what the engine is to say of a request that it does not decline."""
    request = pb.ModelInferRequest.FromString(wire)
    query = codec.decode(request, FakeCall(metadata), OFF)
    arrays = query.prepare(signature)
    assert parameters.boolean(request.parameters, "binary_data_output") is not False
    measures = Measures(signature)
    rows = measures.rows(arrays)
    timeout = parameters.integer(request.parameters, "timeout")
    assert (query.deadline is None) == (not timeout)
    inputs = [
        (spec.dtype.value, list(arrays[spec.name].shape), raw_tensors.encode(arrays[spec.name]))
        for spec in signature.inputs
    ]
    return (
        query.name,
        query.version,
        query.unit,
        request.id,
        query.request_id,
        timeout or None,
        level_of(query.priority),
        inputs,
        rows,
        measures.size(arrays, rows),
        list(outputs_wanted(tuple(spec.name for spec in signature.outputs), query.outputs)),
    )


def check(wire: bytes, metadata: Mapping[str, str], signature: Signature) -> bool:
    """Hold both against each other; return whether the engine took the request."""
    found = natively(wire, metadata, signature)
    if found is None:
        return False
    assert found == in_python(wire, metadata, signature)
    return True


# ---------------------------------------------------------------- requests


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    sizes = st.lists(st.sampled_from([-1, -1, 1, 2, 3]), max_size=3)
    names = draw(st.lists(wire_texts, min_size=1, max_size=4, unique=True))
    inputs = tuple(TensorSpec(name, DType(draw(st.sampled_from(DTYPES))), tuple(draw(sizes))) for name in names)
    outputs = tuple(
        TensorSpec(name, DType(draw(st.sampled_from(DTYPES))), tuple(draw(sizes)))
        for name in draw(st.lists(wire_texts, max_size=4, unique=True))
    )
    return Signature(inputs=inputs, outputs=outputs, batched=draw(st.booleans()))


@st.composite
def arrays_for(draw: st.DrawFn, signature: Signature) -> dict[str, Array]:
    rows = draw(st.integers(0, 3))
    arrays = {}
    for spec in draw(st.permutations(signature.inputs)):
        shape = [draw(st.integers(0, 3)) if size < 0 else size for size in spec.shape]
        if spec.name in signature.rowwise:
            shape[0] = rows
        arrays[spec.name] = draw(arrays_of(spec.dtype.value, tuple(shape)))
    return arrays


def arrays_of(dtype: str, shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    if dtype != "BYTES":
        return hnp.arrays(NUMPY[dtype], shape)
    count = math.prod(shape)
    return st.lists(wire_texts, min_size=count, max_size=count).map(lambda elements: texts(elements, shape))


def datatypes_of(signature: Signature) -> dict[str, str]:
    return {spec.name: spec.dtype.value for spec in signature.inputs}


@st.composite
def requests(draw: st.DrawFn) -> tuple[pb.ModelInferRequest, Signature]:
    """Return a request such as clients send, and a signature that it fits."""
    signature = draw(signatures())
    datatypes = datatypes_of(signature)
    typed = draw(st.booleans()) and all(datatype in FIELDS for datatype in datatypes.values())
    request = request_of(draw(arrays_for(signature)), datatypes, id=draw(wire_texts), typed=typed)
    request.model_name = draw(st.one_of(st.just("price"), wire_texts.filter(bool)))
    request.model_version = draw(st.one_of(st.just(""), wire_texts))
    for spec in draw(st.permutations(signature.outputs))[: draw(st.integers(0, 4))]:
        request.outputs.add(name=spec.name)
    given = request.parameters
    match draw(st.integers(0, 4)):
        case 0:
            given["unit_id"].string_param = draw(wire_texts)
        case 1:
            given["unit_id"].int64_param = draw(st.integers(-(2**63), 2**63 - 1))
        case 2:
            given["unit_id"].uint64_param = draw(st.integers(0, 2**64 - 1))
    if draw(st.booleans()):
        given["timeout"].int64_param = draw(st.one_of(st.integers(0, 10**9), st.integers(0, 2**63 - 1)))
    if draw(st.booleans()):
        given["priority"].uint64_param = draw(st.one_of(st.integers(0, 12), st.integers(0, 2**64 - 1)))
    if draw(st.booleans()):
        given["binary_data_output"].bool_param = True
    if draw(st.booleans()):
        given["sequence_id"].int64_param = 0
    for name in draw(st.lists(wire_texts, max_size=3)):
        if name not in given:
            given[name].double_param = 0.5
    return request, signature


@given(requests(), st.sampled_from([{}, METADATA]))
@settings(max_examples=150)
def test_ordinary_requests_are_taken_and_read_alike(
    given: tuple[pb.ModelInferRequest, Signature], metadata: dict[str, str]
) -> None:
    request, signature = given
    assert check(request.SerializeToString(), metadata, signature)


@given(requests(), st.integers(0, 2**32))
@settings(max_examples=50)
def test_what_is_taken_of_requests_with_changes_is_read_alike(
    given: tuple[pb.ModelInferRequest, Signature], seed: int
) -> None:
    request, signature = given
    dice = random.Random(seed)
    for _ in range(40):
        changed = pb.ModelInferRequest()
        changed.CopyFrom(request)
        for _ in range(dice.randint(1, 2)):
            mutate(changed, dice)
        check(changed.SerializeToString(), METADATA, signature)


def raw_misfit(dtype: str, count: int, draw: st.DrawFn) -> bytes:
    if dtype == "BYTES":
        return draw(st.sampled_from([b"\0\0\0\0", b"\1\0\0\0x", b"\1\0\0\0\xff", b"\2\0\0\0x"])) * count
    return draw(st.sampled_from([b"\0", b"\1", b"\1", b"\2"])) * (count * NUMPY_DTYPES[dtype].itemsize)


def fill(contents: pb.InferTensorContents, dtype: str, count: int, draw: st.DrawFn) -> None:
    """Put *count* elements of a dtype into contents, which it may just not hold."""
    contents.SetInParent()
    field = FIELDS.get(dtype, "fp32_contents")
    values: Sequence[Any] = (0, 1, 1, 1)
    if field in ("int_contents", "uint_contents"):
        values = (1, 1, 127, 128, 255, 256, 32767, 32768, 65535, 65536)
    elif field == "bytes_contents":
        values = (b"", b"x", "\u65e5".encode(), b"\xff")
    getattr(contents, field).extend(draw(st.lists(st.sampled_from(values), min_size=count, max_size=count)))


@st.composite
def misfits(draw: st.DrawFn) -> tuple[pb.ModelInferRequest, Signature]:
    """Return a request that may fit its signature nearly: rows, sizes, dtypes, names and elements are anybody's."""
    signature = draw(signatures())
    request = pb.ModelInferRequest(model_name="m")
    typed = draw(st.booleans())
    for spec in draw(st.permutations(signature.inputs)):
        odd = draw(st.sampled_from(["", "", "", "", "", "name", "dtype", "rank", "bytes"]))
        sizes = [draw(st.integers(-1, 3)) if draw(st.integers(0, 9)) == 0 else size for size in spec.shape]
        shape = [draw(st.sampled_from([0, 1, 2, 2, 2])) if size < 0 else size for size in sizes]
        count = max(0, math.prod(shape))
        tensor = request.inputs.add(
            name=draw(st.sampled_from([one.name for one in signature.inputs])) if odd == "name" else spec.name,
            datatype=draw(st.sampled_from(DTYPES)) if odd == "dtype" else spec.dtype.value,
            shape=[*shape, 1] if odd == "rank" else shape,
        )
        if typed:
            dtype = draw(st.sampled_from([*[spec.dtype.value] * 5, "INT8", "BYTES"]))
            fill(tensor.contents, dtype, draw(st.sampled_from([count, count, count, count + 1])), draw)
        else:
            data = raw_misfit(spec.dtype.value, count, draw)
            request.raw_input_contents.append(data[1:] if odd == "bytes" else data)
    for spec in signature.outputs[: draw(st.integers(0, 2))]:
        request.outputs.add(name=draw(st.sampled_from([spec.name, spec.name, signature.outputs[0].name])))
    return request, signature


@given(misfits())
@settings(max_examples=200)
def test_a_request_is_taken_exactly_where_python_takes_it(given: tuple[pb.ModelInferRequest, Signature]) -> None:
    request, signature = given
    wire = request.SerializeToString()
    try:
        wanted = in_python(wire, METADATA, signature)
    except TurnoutError:
        wanted = None
    assert natively(wire, METADATA, signature) == wanted


@st.composite
def written_contents(draw: st.DrawFn) -> tuple[str, int, bytes]:
    """Return a datatype, how many elements are claimed, and contents whose numbers are packed, or not, or both."""
    dtype = draw(st.sampled_from([name for name in FIELDS if name != "BYTES"]))
    number = pb.InferTensorContents.DESCRIPTOR.fields_by_name[FIELDS[dtype]].number
    width = {"FP32": 4, "FP64": 8}.get(dtype, 0)
    small = st.integers(0, 300)
    numbers = st.one_of(small, st.integers(0, 2**64 - 1), small.map(lambda value: 2**64 - value - 1))
    elements = draw(st.lists(st.binary(min_size=width, max_size=width) if width else numbers.map(varint), max_size=6))
    wire, rest = b"", elements
    while rest:
        part, rest = rest[: (many := draw(st.integers(0, 3)))], rest[many:]
        if draw(st.booleans()):
            packed = b"".join(part)
            wire += bytes([number << 3 | 2, len(packed)]) + packed
        else:
            wire += b"".join(bytes([number << 3 | {0: 0, 4: 5, 8: 1}[width]]) + element for element in part)
    return dtype, len(elements) + draw(st.sampled_from([0, 0, 0, 0, 1, -1])), wire


def varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


@given(written_contents())
@example(("FP32", 1, b"\x32\x04\x01\x00\x80\x7f"))  # a NaN that signals, which no double in between leaves as it is
@example(("FP64", 1, b"\x3a\x08\x01\x00\x00\x00\x00\x00\xf0\x7f"))
@settings(max_examples=400)
def test_typed_contents_are_read_alike_however_they_are_written(given: tuple[str, int, bytes]) -> None:
    dtype, count, contents = given
    signature = identity(("x", dtype, (-1,)))
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=dtype, shape=[count]).SerializeToString()
    tensor += bytes([5 << 3 | 2, len(contents)]) + contents
    wire = b"\x0a\x01m" + bytes([5 << 3 | 2]) + varint(len(tensor)) + tensor
    try:
        wanted = in_python(wire, {}, signature)
    except TurnoutError:
        wanted = None
    assert natively(wire, {}, signature) == wanted


@pytest.mark.parametrize("count", [2**20, 2**20 + 1])
@pytest.mark.parametrize("typed", [False, True])
def test_only_so_many_elements_are_looked_at_one_by_one(count: int, typed: bool) -> None:
    signature = identity(("x", "BYTES", (-1,)))
    request = pb.ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="x", datatype="BYTES", shape=[count])
    if typed:
        tensor.contents.bytes_contents.extend([b""] * count)
    else:
        request.raw_input_contents.append(b"\0\0\0\0" * count)
    assert (natively(request.SerializeToString(), {}, signature) is not None) == (count == 2**20)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_inputs_with_rows_have_the_same_number_of_them(rows: int) -> None:
    arrays = {"a": np.ones((rows, 2), np.float32), "b": np.ones(1, np.bool_)}
    assert check(request_of(arrays, datatypes_of(PAIR)).SerializeToString(), {}, PAIR) == (rows == 1)


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize(
    ("rows", "width", "taken"), [(3, 4, True), (4, 1, False), (1, 13, False), (0, 13, False), (3, 0, True)]
)
def test_a_request_is_taken_as_far_as_its_versions_bounds_go(rows: int, width: int, taken: bool, typed: bool) -> None:
    signature = msgspec.structs.replace(identity(("x", "FP32", (-1, -1))), max_rows=3, max_elements=12)
    request = request_of({"x": np.ones((rows, width), np.float32)}, {"x": "FP32"}, typed=typed)
    if typed:
        request.parameters["binary_data_output"].bool_param = True
    assert check(request.SerializeToString(), {}, signature) == taken


def flipped(wire: bytes, dice: random.Random) -> bytes:
    """Return *wire* with a few bits, or the end, not as they were."""
    changed = bytearray(wire)
    match dice.randrange(4):
        case 0:
            del changed[dice.randrange(len(changed) + 1) :]
        case 1:
            at = dice.randrange(len(changed) + 1)
            changed[at:at] = dice.randbytes(dice.randint(1, 3))
        case 2:
            start = dice.randrange(len(changed))
            del changed[start : start + dice.randint(1, 3)]
        case _:
            for _ in range(dice.randint(1, 3)):
                changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("change", [flipped, rewrite])
@given(requests(), st.integers(0, 2**32))
@settings(max_examples=40)
def test_what_is_taken_of_broken_messages_is_read_alike(
    change: Callable[[bytes, random.Random], bytes], given: tuple[pb.ModelInferRequest, Signature], seed: int
) -> None:
    request, signature = given
    dice = random.Random(seed)
    wire = request.SerializeToString()
    for _ in range(100):
        check(change(wire, dice), METADATA, signature)


PAIR = Signature(
    inputs=(TensorSpec("a", DType.FP32, (-1, 2)), TensorSpec("b", DType.BOOL, (-1,))),
    outputs=(TensorSpec("p", DType.FP32, (-1,)), TensorSpec("q", DType.FP32, (-1,))),
)
PAIR_ARRAYS: dict[str, Array] = {"a": np.ones((3, 2), np.float32), "b": np.array([True, False, True])}


def pair(**fields: Any) -> pb.ModelInferRequest:
    return request_of(PAIR_ARRAYS, datatypes_of(PAIR), **fields)


@pytest.mark.parametrize(("change", "least"), [(flipped, 200), (rewrite, 300)])
def test_enough_of_the_broken_messages_are_taken_for_the_comparison_to_mean_something(
    change: Callable[[bytes, random.Random], bytes], least: int
) -> None:
    dice = random.Random(11)
    request = pair(id="id", outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="q")])
    request.parameters["unit_id"].string_param = "u"
    request.parameters["timeout"].int64_param = 1000
    wire = request.SerializeToString()
    taken = sum(check(change(wire, dice), METADATA, PAIR) for _ in range(4000))
    assert least < taken < 3500


@pytest.mark.parametrize("length", [1023, 1024, 1025])
@pytest.mark.parametrize("letter", ["u", "ü", "日", "🚉"])
def test_bounds_are_counted_in_characters(letter: str, length: int) -> None:
    text = letter * length
    in_parameter = pair()
    in_parameter.parameters["unit_id"].string_param = text
    for request, metadata in (
        (in_parameter, {}),
        (pair(), {"x-turnout-unit": text}),
        (pair(id=text), {}),
        (pair(), {"x-request-id": text}),
        (pair(model_name=letter * (length // 4)), {}),
        (pair(model_version=letter * (length // 4 + 1)), {}),
    ):
        taken = check(request.SerializeToString(), metadata, PAIR)
        try:
            in_python(request.SerializeToString(), metadata, PAIR)
        except codec.InvalidRequestError:
            assert not taken
        else:
            assert taken


def test_contents_in_parts_beside_raw_ones_and_answers_that_are_to_be_typed_are_left_to_python() -> None:
    typed = pair(typed=True)
    assert check(typed.SerializeToString(), {}, PAIR)
    more = pb.ModelInferRequest.InferInputTensor(contents=pb.InferTensorContents(fp32_contents=[1])).SerializeToString()
    first, *rest = typed.inputs
    inputs = [first.SerializeToString() + more, *(each.SerializeToString() for each in rest)]
    in_parts = b"\x0a\x01m" + b"".join(bytes([5 << 3 | 2, len(each)]) + each for each in inputs)
    assert len(pb.ModelInferRequest.FromString(in_parts).inputs[0].contents.fp32_contents) == 7
    assert natively(in_parts, {}, PAIR) is None
    both = pair()
    both.inputs[0].contents.SetInParent()
    assert natively(both.SerializeToString(), {}, PAIR) is None
    typed.parameters["binary_data_output"].bool_param = False
    assert natively(typed.SerializeToString(), {}, PAIR) is None


# ---------------------------------------------------------------- answers


@st.composite
def answers(draw: st.DrawFn) -> tuple[Decision, dict[str, Array], Signature]:
    signature = draw(signatures())
    arrays = draw(arrays_for(signature))
    decision = Decision(
        draw(wire_texts),
        draw(wire_texts),
        draw(wire_texts),
        draw(st.integers(1, 2**63 - 1)),
        draw(st.sampled_from(Reason)),
        draw(wire_texts),
        propensity=draw(st.one_of(st.none(), st.floats(0, 1))),
    )
    return decision, arrays, Signature(inputs=(), outputs=signature.inputs)


@given(answers(), wire_texts, st.one_of(wire_texts, st.text("r", min_size=100, max_size=200)))
@settings(max_examples=100)
def test_answers_are_written_as_protobuf_writes_them(
    given: tuple[Decision, dict[str, Array], Signature], own: str, request_id: str
) -> None:
    decision, arrays, signature = given
    prediction = predicted(arrays, signature, decision)._replace(request_id=request_id)
    wanted = codec.encode(pb.ModelInferRequest(id=own), prediction, OFF)
    datatypes = {spec.name: spec.dtype.value for spec in signature.outputs}
    written = engine.encode_infer(
        (*decision[:4], decision.reason.value, decision.assigned, decision.propensity),
        own,
        request_id,
        [(name, datatypes[name], list(array.shape), raw_bytes(array)) for name, array in arrays.items()],
    )
    assert pb.ModelInferResponse.FromString(written) == wanted
    assert written == wanted.SerializeToString(deterministic=True)


def test_large_answers_have_long_lengths() -> None:
    for count in (0, 1, 31, 32, 4095, 4096, 600_000):
        array = np.arange(count, dtype=np.float32).reshape(count, 1)
        signature = Signature(inputs=(), outputs=(TensorSpec("y", DType.FP32, (-1, 1)),))
        wanted = codec.encode(pb.ModelInferRequest(), predicted({"y": array}, signature), OFF)
        written = engine.encode_infer(
            ("price", "canary", "diamonds", 7, "SPLIT", "canary", 0.25),
            "",
            "the-request",
            [("y", "FP32", [count, 1], array.tobytes())],
        )
        assert written == wanted.SerializeToString(deterministic=True)
