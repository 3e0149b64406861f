from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.load import CallError, messages
from turnout_server.load.messages import Input, MessageError, Request, Tensor, from_json, made_up, serialised
from turnout_server.load.stubs import pb
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, fp32_of

EVERY_DTYPE = [Input(f"in_{datatype.lower()}", datatype, (-1, -1)) for datatype in NUMPY_DTYPES]


def texts(raw: bytes) -> list[str]:
    found = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        found.append(raw[4:end].decode())
        raw = raw[end:]
    return found


def body(datatype: str, shape: list[int], data: list[Any], **more: Any) -> str:
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "data": data}
    return json.dumps({"inputs": [tensor]} | more)


# ---------------------------------------------------------------- made up


@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 100))
def test_made_up_tensors_have_the_size_of_their_shape(rows: int, axis: int, seed: int) -> None:
    for request in made_up(EVERY_DTYPE, rows=rows, axis=axis, count=2, seed=seed):
        for tensor in request.tensors:
            assert tensor.shape == (rows, axis)
            if tensor.datatype == "BYTES":
                assert len(texts(tensor.raw)) == rows * axis
            else:
                assert len(tensor.raw) == rows * axis * NUMPY_DTYPES[tensor.datatype].itemsize


def test_only_free_axes_are_chosen() -> None:
    inputs = [Input("a", "FP32", (-1, 3, -1)), Input("k", "INT64", (1,)), Input("scalar", "FP32", ())]
    (request,) = made_up(inputs, rows=7, axis=5, count=1, seed=0)
    assert [tensor.shape for tensor in request.tensors] == [(7, 3, 5), (1,), ()]


def test_the_same_seed_makes_the_same_requests_and_each_differs() -> None:
    first = made_up(EVERY_DTYPE, rows=2, axis=2, count=3, seed=1)
    assert first == made_up(EVERY_DTYPE, rows=2, axis=2, count=3, seed=1)
    assert first != made_up(EVERY_DTYPE, rows=2, axis=2, count=3, seed=2)
    assert first[0] != first[1]


def test_integers_are_small_and_positive() -> None:
    (request,) = made_up([Input("k", "INT64", (1000,))], rows=1, axis=1, count=1, seed=0)
    values = np.frombuffer(request.tensors[0].raw, np.int64)
    assert set(values.tolist()) == set(range(1, 10))


def test_what_does_not_fit_in_memory_is_refused_before_it_is_made() -> None:
    with pytest.raises(MessageError, match="fewer rows"):
        made_up([Input("x", "FP32", (-1, 10_000))], rows=1_000_000, axis=1, count=1, seed=0)


def test_large_requests_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_BYTES", 1000)
    made = made_up([Input("x", "FP32", (100,))], rows=1, axis=1, count=16, seed=0)
    assert len(made) == 2
    with pytest.raises(MessageError, match="take fewer"):
        serialised("route", "", made, units=100)


def test_an_unknown_datatype_is_named() -> None:
    with pytest.raises(MessageError, match="input 'x': unknown datatype 'FP8'"):
        made_up([Input("x", "FP8", (1,))], rows=1, axis=1, count=1, seed=0)


# ---------------------------------------------------------------- messages


def test_a_message_says_where_it_goes_and_holds_its_tensors() -> None:
    tensor = Tensor("x", "FP32", (1, 2), b"12345678")
    request = Request((tensor,), ("y",), {"a": True, "b": 2, "c": 0.5, "d": "text"}, "id-1")
    (raw,) = serialised("price", "champion", [request])
    message = pb.ModelInferRequest.FromString(raw)
    assert (message.model_name, message.model_version, message.id) == ("price", "champion", "id-1")
    assert [(one.name, one.datatype, list(one.shape)) for one in message.inputs] == [("x", "FP32", [1, 2])]
    assert (list(message.raw_input_contents), message.outputs[0].name) == ([b"12345678"], "y")
    given = message.parameters
    assert (given["a"].bool_param, given["b"].int64_param) == (True, 2)
    assert (given["c"].double_param, given["d"].string_param) == (0.5, "text")


@pytest.mark.parametrize(("requests", "units", "count"), [(1, 0, 1), (3, 0, 3), (1, 5, 5), (3, 2, 3), (2, 5, 5)])
def test_every_unit_and_every_request_is_sent(requests: int, units: int, count: int) -> None:
    made = [Request((), id=str(number)) for number in range(requests)]
    sent = [pb.ModelInferRequest.FromString(raw) for raw in serialised("price", "", made, units)]
    assert len(sent) == count
    assert {one.id for one in sent} == {one.id for one in made}
    named = {one.parameters["unit_id"].string_param for one in sent if "unit_id" in one.parameters}
    assert named == {f"unit-{number}" for number in range(units)}


def test_a_signature_is_read_from_metadata() -> None:
    metadata = pb.ModelMetadataResponse(
        inputs=[pb.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1, 3])]
    )
    assert messages.signature(metadata.SerializeToString()) == (Input("x", "FP32", (-1, 3)),)
    with pytest.raises(CallError, match="no ModelMetadataResponse"):
        messages.signature(b"\xff\xff\xff")


# ---------------------------------------------------------------- from a file


@pytest.mark.parametrize("datatype", [name for name in NUMPY_DTYPES if name not in ("BYTES", "BOOL")])
@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_data_may_be_nested_or_flat(datatype: str, data: list[Any]) -> None:
    (request,) = from_json(body(datatype, [2, 2], data))
    found = np.frombuffer(request.tensors[0].raw, NUMPY_DTYPES[datatype])
    assert (fp32_of(found) if datatype == "BF16" else found).tolist() == [1, 2, 3, 4]
    assert request.tensors[0][:3] == ("x", datatype, (2, 2))


def test_texts_truth_values_and_empty_tensors_are_read() -> None:
    (request,) = from_json(body("BYTES", [2], ["", "naïve"]))
    assert texts(request.tensors[0].raw) == ["", "naïve"]
    (request,) = from_json(body("BOOL", [2], [True, False]))
    assert request.tensors[0].raw == b"\1\0"
    (request,) = from_json(body("FP32", [1, 0], [[]]))
    assert request.tensors[0].raw == b""


def test_a_list_of_bodies_is_as_many_requests() -> None:
    one = body("FP32", [1], [0.5], parameters={"unit_id": "u"}, outputs=[{"name": "y"}], id="7")
    requests = from_json(f"[{one}, {one}]")
    assert len(requests) == 2
    assert (requests[0].parameters, requests[0].outputs, requests[0].id) == ({"unit_id": "u"}, ("y",), "7")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "truncated"),
        ("{}", "inputs"),
        ("[]", "no request"),
        ('{"inputs": [], "frobnicate": 1}', "frobnicate"),
        (body("FP8", [1], [1]), "found datatype 'FP8'"),
        (body("FP32", [2], [1.0]), "expected 2 elements by its shape, found 1"),
        (body("FP32", [-1], [1.0]), "sizes are 0 or more"),
        (body("FP32", [1], ["1.0"]), "found '1.0' among elements of datatype FP32"),
        (body("FP32", [1], [None]), "found None"),
        (body("INT64", [1], [1.5]), "found 1.5"),
        (body("INT64", [1], [True]), "found True"),
        (body("BOOL", [1], [1]), "found 1 "),
        (body("BYTES", [1], [1]), "found 1 "),
        (body("INT8", [1], [300]), "does not fit INT8"),
        (body("UINT8", [1], [-1]), "does not fit UINT8"),
    ],
)
def test_a_wrong_body_says_where(text: str, said: str) -> None:
    with pytest.raises(MessageError, match=said):
        from_json(text)


def test_numbers_keep_their_precision() -> None:
    (request,) = from_json(body("FP64", [1], [math.pi]))
    assert np.frombuffer(request.tensors[0].raw, np.float64)[0] == math.pi
    (request,) = from_json(body("UINT64", [1], [2**64 - 1]))
    assert np.frombuffer(request.tensors[0].raw, np.uint64)[0] == 2**64 - 1
