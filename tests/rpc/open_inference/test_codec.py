"""What the Open Inference Protocol's codec accepts, refuses and answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from struct import pack
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.rpc.inference import FakeCall, fp32_request, identity, predicted, request_of, response_arrays, texts
from turnout_server.config import Answers
from turnout_server.rpc.open_inference import codec as codec
from turnout_server.rpc.open_inference import raw_tensors
from turnout_server.rpc.open_inference.shared_memory import SharedMemory
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import InvalidInputError, InvalidRequestError, NotSupportedError, TooLargeError
from turnout_server.vocabulary.query import Query
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import Array, Arrays

OFF = SharedMemory()
X = identity(("x", "FP32", (-1, 1)))
PAIR = identity(("a", "FP32", (-1, 2)), ("b", "INT64", (-1,)))
PAIR_ARRAYS: dict[str, Array] = {"a": np.ones((3, 2), np.float32), "b": np.arange(3)}
PAIR_TYPES = {"a": "FP32", "b": "INT64"}


def decode(request: pb.ModelInferRequest, call: FakeCall | None = None) -> Query:
    return codec.decode(request, call or FakeCall(), OFF)


def prepare(request: pb.ModelInferRequest, signature: Signature = X) -> Arrays:
    return decode(request).prepare(signature)


def encode(
    request: pb.ModelInferRequest, outputs: dict[str, Any], signature: Signature = X, answers: Answers = "raw"
) -> pb.ModelInferResponse:
    return codec.encode(request, predicted(outputs, signature), OFF, answers=answers)


def raw_request(datatype: str, shape: list[int], data: bytes) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m", raw_input_contents=[data])
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    return request


def typed_request(datatype: str, shape: list[int], **contents: list[Any]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype=datatype, shape=shape, contents=pb.InferTensorContents(**contents))
    return request


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_a_request_with_more_tensors_than_any_graph_has_is_refused_before_they_are_looked_at(field: str) -> None:
    request = fp32_request(1)
    tensors = getattr(request, field)
    while len(tensors) <= codec.TENSOR_LIMIT:
        tensors.add()
    with pytest.raises(InvalidRequestError, match=f"{field}: found 10001; one request may have at most 10000"):
        decode(request)


# ---------------------------------------------------------------- raw inputs


def test_raw_numbers_are_views_of_the_message() -> None:
    array = prepare(fp32_request(1, 2, 3))["x"]
    assert array.shape == (3, 1)
    assert array.base is not None
    assert not array.flags.writeable


def test_a_scalar_is_legal() -> None:
    assert prepare(raw_request("FP32", [], pack("<f", 7)), identity(("x", "FP32", ())))["x"] == np.float32(7)


@pytest.mark.parametrize("datatype", ["FP32", "BYTES", "BOOL"])
@pytest.mark.parametrize("raw", [True, False])
def test_zero_rows_are_legal(datatype: str, raw: bool) -> None:
    request = raw_request(datatype, [0, 5], b"") if raw else typed_request(datatype, [0, 5])
    assert prepare(request, identity(("x", datatype, (-1, 5))))["x"].shape == (0, 5)


def test_zero_rows_need_no_contents_at_all() -> None:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[0, 1])
    assert prepare(request)["x"].shape == (0, 1)


def test_a_graph_without_inputs_needs_none() -> None:
    assert prepare(pb.ModelInferRequest(model_name="m"), identity()) == {}


@pytest.mark.parametrize("length", [7, 9, 0])
def test_the_byte_count_must_fit_the_shape(length: int) -> None:
    with pytest.raises(InvalidInputError, match=rf"input 'x': expected 8 bytes \(2 x 4\), found {length}"):
        prepare(raw_request("FP32", [2, 1], bytes(length)))


@pytest.mark.parametrize(
    "shape",
    [
        [2, 2],
        [-1, 1],
        [-2, -1],
        [2**62, 1],
        [2**63 - 1, 1],
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape: list[int]) -> None:
    with pytest.raises(InvalidInputError, match="input 'x': expected"):
        prepare(raw_request("FP32", shape, bytes(8)))


@pytest.mark.parametrize("shape", [[-1, 2], [-1, -2], [2, -1]])
def test_a_size_is_never_left_to_be_guessed(shape: list[int]) -> None:
    with pytest.raises(InvalidInputError, match=r"expected shape \[-1, -1\]"):
        prepare(raw_request("FP32", shape, bytes(8)), identity(("x", "FP32", (-1, -1))))


def test_sizes_whose_product_overflows_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=f"expected {4 * 2**124} bytes"):
        prepare(raw_request("FP32", [2**62, 2**62], b""), identity(("x", "FP32", (-1, -1))))


def test_an_empty_tensor_may_not_claim_endless_other_sizes() -> None:
    with pytest.raises(InvalidInputError, match="beyond reason"):
        prepare(raw_request("FP32", [2**40, 0], b""), identity(("x", "FP32", (-1, -1))))


@pytest.mark.parametrize("shape", [[2], [2, 1, 1], []])
def test_the_rank_must_fit(shape: list[int]) -> None:
    with pytest.raises(InvalidInputError, match=rf"expected 2 dimensions \[-1, 1\], found {len(shape)}"):
        prepare(raw_request("FP32", shape, bytes(8)))


@pytest.mark.parametrize("datatype", ["FP64", "", "fp32", "BF16", "\0"])
def test_the_datatype_must_fit(datatype: str) -> None:
    with pytest.raises(InvalidInputError, match="expected datatype FP32, found"):
        prepare(raw_request(datatype, [2, 1], bytes(8)))


def test_a_bool_is_0_or_1() -> None:
    signature = identity(("x", "BOOL", (-1,)))
    assert prepare(raw_request("BOOL", [2], b"\0\1"), signature)["x"].tolist() == [False, True]
    with pytest.raises(InvalidInputError, match="neither 0 nor 1"):
        prepare(raw_request("BOOL", [2], b"\0\2"), signature)


# ---------------------------------------------------------------- text


def test_text_keeps_nuls_and_emptiness() -> None:
    words = ["", "a\0b", "\0", "é漢😀"]
    data = b"".join(pack("<I", len(word.encode())) + word.encode() for word in words)
    assert prepare(raw_request("BYTES", [4], data), identity(("x", "BYTES", (-1,))))["x"].tolist() == words


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "2 elements need at least 8 bytes, found 0"),
        (b"\1\0\0\0a\1\0\0", "the data ends inside the length of element 1 of 2"),
        (b"\1\0\0\0a\2\0\0\0b", "element 1 should have 2 bytes, but only 1 follow"),
        (b"\xff\xff\xff\xff\0\0\0\0", "element 0 should have 4294967295 bytes, but only 4 follow"),
        (b"\1\0\0\0a\0\0\0\0!", "1 bytes follow the last of 2 elements"),
        (b"\0\0\0\0\1\0\0\0\xff", "element 1 is not UTF-8, from byte 0 on"),
        (b"\0\0\0\0\3\0\0\0\xed\xa0\x80", "element 1 is not UTF-8"),
    ],
)
def test_broken_text_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        prepare(raw_request("BYTES", [2], data), identity(("x", "BYTES", (-1,))))


# ---------------------------------------------------------------- typed inputs


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (typed_request("FP32", [2, 1], fp64_contents=[1, 2]), "FP32 travels in fp32_contents, found fp64_contents"),
        (typed_request("FP32", [2, 1], fp32_contents=[1, 2], int_contents=[1]), "found int_contents"),
        (typed_request("FP32", [2, 1], fp32_contents=[1]), "expected 2 elements in fp32_contents, found 1"),
        (typed_request("FP32", [2, 1], fp32_contents=[1, 2, 3]), "expected 2 elements in fp32_contents, found 3"),
        (typed_request("FP32", [2, 1]), "expected 2 elements in fp32_contents, found 0"),
        (typed_request("FP32", [2**62, 1], fp32_contents=[1]), "expected 4611686018427387904 elements"),
    ],
)
def test_typed_contents_must_fit(request_: pb.ModelInferRequest, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        prepare(request_)


@pytest.mark.parametrize(
    ("datatype", "field", "value"),
    [
        ("INT8", "int_contents", 128),
        ("INT8", "int_contents", -129),
        ("INT16", "int_contents", 2**15),
        ("UINT8", "uint_contents", 256),
        ("UINT16", "uint_contents", 2**16),
    ],
)
def test_values_out_of_range_do_not_wrap(datatype: str, field: str, value: int) -> None:
    with pytest.raises(InvalidInputError, match=f"element 1 is {value}; {datatype} holds"):
        prepare(typed_request(datatype, [2], **{field: [0, value]}), identity(("x", datatype, (-1,))))


def test_fp16_has_no_typed_contents() -> None:
    with pytest.raises(InvalidInputError, match="FP16 has no typed contents; send it in raw_input_contents"):
        prepare(typed_request("FP16", [1], fp32_contents=[1]), identity(("x", "FP16", (-1,))))


def test_typed_text_must_be_utf8() -> None:
    with pytest.raises(InvalidInputError, match="element 1 is not UTF-8"):
        prepare(typed_request("BYTES", [2], bytes_contents=[b"ok", b"\xff"]), identity(("x", "BYTES", (-1,))))


def test_no_data_at_all_is_refused() -> None:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    with pytest.raises(InvalidInputError, match="has neither contents nor raw_input_contents"):
        prepare(request)


# ---------------------------------------------------------------- which inputs


@pytest.mark.parametrize("typed", [False, True])
def test_several_inputs_are_told_apart_by_name(typed: bool) -> None:
    request = request_of(dict(reversed(PAIR_ARRAYS.items())), PAIR_TYPES, typed=typed)
    arrays = prepare(request, PAIR)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        name: array.tolist() for name, array in PAIR_ARRAYS.items()
    }


def _drop_input(request: pb.ModelInferRequest) -> None:
    del request.inputs[1]
    del request.raw_input_contents[1]


def _double_input(request: pb.ModelInferRequest) -> None:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def _rename_input(request: pb.ModelInferRequest) -> None:
    request.inputs[0].name = "c"


def _long_name(request: pb.ModelInferRequest) -> None:
    request.inputs[0].name = "n" * 100_000


def _fewer_rows(request: pb.ModelInferRequest) -> None:
    request.inputs[1].shape[0] = 2
    request.raw_input_contents[1] = request.raw_input_contents[1][:16]


def _both_forms(request: pb.ModelInferRequest) -> None:
    request.inputs[0].contents.fp32_contents.extend([1] * 6)


def _one_raw_too_few(request: pb.ModelInferRequest) -> None:
    del request.raw_input_contents[1]


def _one_raw_too_many(request: pb.ModelInferRequest) -> None:
    request.raw_input_contents.append(b"")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (_drop_input, "input 'b': is missing"),
        (_double_input, "input 'a': is there twice"),
        (_rename_input, "input 'c': the model has no such input; it has 'a', 'b'"),
        (_long_name, r"input 'n{256}\.\.\.': the model has no such input"),
        (_fewer_rows, "input 'b': has 2 rows, but 'a' has 3"),
        (_both_forms, "input 'a': has contents beside raw bytes; send one of them"),
        (_one_raw_too_few, "raw_input_contents has 1 entries for 2 inputs"),
        (_one_raw_too_many, "raw_input_contents has 3 entries for 2 inputs"),
    ],
)
def test_inputs_that_do_not_fit_the_signature_are_refused(
    spoil: Callable[[pb.ModelInferRequest], None], problem: str
) -> None:
    request = request_of(PAIR_ARRAYS, PAIR_TYPES)
    assert set(prepare(request, PAIR)) == {"a", "b"}
    spoil(request)
    with pytest.raises(InvalidRequestError, match=problem):
        prepare(request, PAIR)


def test_every_input_that_is_missing_is_named() -> None:
    request = request_of({}, {})
    with pytest.raises(InvalidInputError, match=r"input 'a': is missing, as is 'b'$") as caught:
        prepare(request, PAIR)
    assert caught.value.details == {"input": "a"}


def test_rows_may_differ_where_they_are_no_batch() -> None:
    signature = identity(("a", "FP32", (-1,)), ("b", "FP32", (-1,)), batched=False)
    arrays = {"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)}
    assert prepare(request_of(arrays, dict.fromkeys("ab", "FP32")), signature)["b"].shape == (3,)


def test_one_request_can_be_prepared_for_several_versions() -> None:
    query = decode(request_of(PAIR_ARRAYS, PAIR_TYPES))
    with pytest.raises(InvalidInputError):
        query.prepare(X)
    assert set(query.prepare(PAIR)) == {"a", "b"}


# ---------------------------------------------------------------- names, unit, deadline, parameters


def with_parameter(key: str, **value: Any) -> pb.ModelInferRequest:
    return fp32_request(1, parameters={key: pb.InferParameter(**value)})


def test_a_query_carries_names_and_outputs() -> None:
    request = fp32_request(1, model_version="champion")
    for name in ("z", "y"):
        request.outputs.add(name=name)
    query = decode(request, FakeCall({"x-turnout-unit": "u1", "x-qa": "on"}, deadline=5.0))
    assert (query.name, query.version, query.outputs, query.unit) == ("m", "champion", ("z", "y"), "u1")
    assert query.headers["x-qa"] == "on"
    assert query.deadline == 5.0


@pytest.mark.parametrize("field", ["model_name", "model_version"])
def test_a_name_beyond_reason_is_not_looked_up(field: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{field.removeprefix('model_')}: 100000 characters"):
        decode(fp32_request(1, **{field: "n" * 100_000}))


def test_a_request_names_a_model() -> None:
    with pytest.raises(InvalidRequestError, match="name: is empty"):
        decode(fp32_request(1, model_name=""))


def test_an_output_is_wanted_once() -> None:
    request = fp32_request(1)
    request.outputs.add(name="y")
    request.outputs.add(name="y")
    with pytest.raises(InvalidRequestError, match="output 'y' is wanted twice"):
        decode(request)


@pytest.mark.parametrize(
    ("value", "unit"),
    [({"string_param": "u2"}, "u2"), ({"int64_param": -3}, "-3"), ({"uint64_param": 2**63}, str(2**63))],
)
def test_the_units_parameter_wins_over_metadata(value: dict[str, Any], unit: str) -> None:
    assert decode(with_parameter("unit_id", **value), FakeCall({"x-turnout-unit": "u1"})).unit == unit


def test_a_timeout_only_shortens_the_deadline() -> None:
    before = time.monotonic()
    alone = decode(with_parameter("timeout", int64_param=2_000_000)).deadline
    assert alone is not None
    assert before + 2 <= alone <= time.monotonic() + 2
    assert decode(with_parameter("timeout", int64_param=2_000_000), FakeCall(deadline=before)).deadline == before
    assert decode(with_parameter("timeout", uint64_param=2**64 - 1), FakeCall(deadline=before)).deadline == before
    assert decode(with_parameter("timeout", int64_param=0)).deadline is None


def test_priority_is_read() -> None:
    assert decode(with_parameter("priority", uint64_param=2)).priority == 2


def test_parameters_meant_for_models_are_ignored() -> None:
    assert decode(with_parameter("temperature", double_param=0.5)).name == "m"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("priority", {"int64_param": -1}),
        ("priority", {"string_param": "high"}),
        ("timeout", {"int64_param": -1}),
        ("timeout", {"double_param": 1.5}),
        ("timeout", {}),
        ("unit_id", {"bool_param": True}),
        ("unit_id", {"string_param": "u" * 2000}),
        ("binary_data_output", {"string_param": "x" * 2000}),
    ],
)
def test_a_wrong_parameter_is_named(key: str, value: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=f"parameter {key}: ") as raised:
        decode(with_parameter(key, **value))
    assert len(raised.value.message) < 200


@pytest.mark.parametrize("value", [{"int64_param": 1}, {"uint64_param": 1}, {"string_param": "s"}])
def test_sequences_are_not_supported(value: dict[str, Any]) -> None:
    with pytest.raises(NotSupportedError, match="sequence_id"):
        decode(with_parameter("sequence_id", **value))


@pytest.mark.parametrize("value", [{"int64_param": 0}, {"string_param": ""}, {}])
def test_no_sequence_is_no_sequence(value: dict[str, Any]) -> None:
    assert decode(with_parameter("sequence_id", **value)).name == "m"


def test_classification_is_not_supported() -> None:
    request = fp32_request(1)
    request.outputs.add(name="y").parameters["classification"].int64_param = 3
    with pytest.raises(NotSupportedError, match="classification"):
        decode(request)


# ---------------------------------------------------------------- answers


def test_an_answer_names_who_answered_and_why() -> None:
    request = fp32_request(1, id="r-1", model_name="price")
    decision = Decision("price", "control", "diamonds", 7, Reason.FALLBACK, "canary", -1, 0.25)
    response = codec.encode(request, predicted({"x": np.ones((1, 1), np.float32)}, X, decision), OFF)
    assert (response.model_name, response.model_version, response.id) == ("diamonds", "7", "r-1")
    assert response.parameters["turnout_propensity"].double_param == 0.25
    texts = {key: value.string_param for key, value in response.parameters.items() if key != "turnout_propensity"}
    assert texts == {
        "turnout_route": "price",
        "turnout_target": "control",
        "turnout_assigned_target": "canary",
        "turnout_reason": "FALLBACK",
        "turnout_request_id": "the-request",
    }


def test_nothing_is_said_of_a_propensity_where_nothing_was_drawn() -> None:
    decision = Decision("", "", "diamonds", 7, Reason.NAMED)
    response = codec.encode(fp32_request(1), predicted({"x": np.ones((1, 1), np.float32)}, X, decision), OFF)
    assert "turnout_propensity" not in response.parameters


@pytest.mark.parametrize("typed", [True, False])
def test_answers_are_raw(typed: bool) -> None:
    request = typed_request("FP32", [1, 1], fp32_contents=[1]) if typed else fp32_request(1)
    response = encode(request, {"x": np.array([[2]], np.float32)})
    assert list(response.raw_output_contents) == [pack("<f", 2)]
    assert not response.outputs[0].HasField("contents")


def test_raw_in_means_raw_out_as_sent() -> None:
    response = encode(fp32_request(1), {"x": np.array([[2]], np.float32)}, answers="as_sent")
    assert list(response.raw_output_contents) == [pack("<f", 2)]
    assert not response.outputs[0].HasField("contents")


def test_typed_in_means_typed_out_as_sent() -> None:
    request = typed_request("FP32", [1, 1], fp32_contents=[1])
    response = encode(request, {"x": np.array([[2]], np.float32)}, answers="as_sent")
    assert not response.raw_output_contents
    assert list(response.outputs[0].contents.fp32_contents) == [2]


@pytest.mark.parametrize("answers", ["raw", "as_sent"])
@pytest.mark.parametrize("asked", [True, False])
def test_one_form_can_be_asked_for(asked: bool, answers: Answers) -> None:
    for request in (fp32_request(1), typed_request("FP32", [1, 1], fp32_contents=[1])):
        request.parameters["binary_data_output"].bool_param = asked
        response = encode(request, {"x": np.array([[2]], np.float32)}, answers=answers)
        assert bool(response.raw_output_contents) is asked


def test_fp16_makes_the_whole_answer_raw() -> None:
    signature = Signature(
        inputs=X.inputs, outputs=(TensorSpec("h", DType.FP16, (-1,)), TensorSpec("y", DType.INT32, (-1,)))
    )
    outputs = {"h": np.ones(1, np.float16), "y": np.ones(1, np.int32)}
    response = encode(typed_request("FP32", [1, 1], fp32_contents=[1]), outputs, signature, "as_sent")
    assert [len(raw) for raw in response.raw_output_contents] == [2, 4]


def test_outputs_keep_the_predictions_order() -> None:
    response = encode(fp32_request(1), dict(reversed(PAIR_ARRAYS.items())), PAIR)
    assert [output.name for output in response.outputs] == ["b", "a"]
    assert response_arrays(response)["b"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("typed", [True, False])
def test_text_goes_out_as_utf8(typed: bool) -> None:
    signature = identity(("x", "BYTES", (-1, 2)))
    words = texts(["é", "", "a\0", "漢"], (2, 2))
    response = encode(request_of({"x": words}, {"x": "BYTES"}, typed=typed), {"x": words}, signature, "as_sent")
    assert response_arrays(response)["x"].tolist() == words.tolist()
    assert bool(response.raw_output_contents) is not typed


def test_a_view_with_odd_strides_goes_out_in_row_major_order() -> None:
    view = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    response = encode(fp32_request(1), {"x": view})
    assert response_arrays(response)["x"].tolist() == view.tolist()


@pytest.mark.parametrize("typed", [True, False])
def test_zero_rows_go_out(typed: bool) -> None:
    empty = np.empty((0, 1), np.float32)
    response = encode(request_of({"x": empty}, {"x": "FP32"}, typed=typed), {"x": empty}, answers="as_sent")
    assert list(response.outputs[0].shape) == [0, 1]
    assert list(response.raw_output_contents) == ([] if typed else [b""])
    assert response.outputs[0].HasField("contents") is typed


@pytest.mark.parametrize("raw", [True, False])
def test_no_more_elements_are_decoded_one_by_one_than_others_can_wait_for(
    raw: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_tensors, "MOST_ELEMENTS", 2)
    signature = Signature((TensorSpec("x", DType.BYTES, (-1,)),), X.outputs)

    def request(count: int) -> pb.ModelInferRequest:
        if raw:
            return raw_request("BYTES", [count], b"\0\0\0\0" * count)
        return typed_request("BYTES", [count], bytes_contents=[b""] * count)

    assert prepare(request(2), signature)["x"].tolist() == ["", ""]
    with pytest.raises(InvalidInputError, match="found 3 elements; at most 2 may be texts"):
        prepare(request(3), signature)


@pytest.mark.parametrize(("bound", "shape"), [({"max_rows": 2}, [3, 1]), ({"max_elements": 5}, [2, 3])])
def test_what_is_larger_than_the_version_takes_is_refused_before_its_tensor_is_made(
    bound: dict[str, int], shape: list[int]
) -> None:
    """Its bytes are too few for the shape, which whoever makes the tensor would say."""
    signature = msgspec.structs.replace(identity(("x", "FP32", (-1, -1))), **bound)
    assert prepare(raw_request("FP32", [2, 1], bytes(8)), signature)["x"].shape == (2, 1)
    with pytest.raises(TooLargeError, match=rf"input 'x' of shape \[{shape[0]}, {shape[1]}\]: .*{next(iter(bound))}"):
        prepare(raw_request("FP32", shape, b""), signature)
