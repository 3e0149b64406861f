"""What an unmodified tritonclient must get from a gateway over the tiny store.

Run by `test_tritonclient.py` as a process of its own, as tritonclient's stubs and ours cannot be imported into one:

    python -m tests.e2e.tritonclient_checks check HOST:PORT             a gateway as it comes
    python -m tests.e2e.tritonclient_checks check_permissive HOST:PORT  one that allows shared memory and changes
    python -m tests.e2e.tritonclient_checks check_as_sent HOST:PORT     one that answers in the request's form

Prints a JSON object with each check's name and its traceback, empty for a check that passed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import queue
import secrets
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import tritonclient.grpc as client
import tritonclient.grpc.aio as aio
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, shared_memory

CHECKS: dict[str, dict[str, Callable[[str], None]]] = {"check": {}, "check_permissive": {}, "check_as_sent": {}}
SAMPLES: dict[str, np.ndarray[Any, Any]] = {
    "BOOL": np.array([[True, False], [False, True]]),
    "UINT8": np.array([[0, 255], [1, 2]], np.uint8),
    "UINT16": np.array([[0, 65535], [1, 2]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1], [1, 2]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1], [1, 2]], np.uint64),
    "INT8": np.array([[-128, 127], [1, 2]], np.int8),
    "INT16": np.array([[-32768, 32767], [1, 2]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1], [1, 2]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1], [1, 2]], np.int64),
    "FP16": np.array([[-1.5, np.inf], [0, 65504]], np.float16),
    "BF16": np.array([[-1.5, np.inf], [0, 2.0**100]], ml_dtypes.bfloat16),
    "FP32": np.array([[-1.5, np.nan], [0, 3e38]], np.float32),
    "FP64": np.array([[-1.5, -np.inf], [0, 1e308]], np.float64),
    "BYTES": np.array([["é漢😀", ""], ["a\0b", "tail\0"]], dtype=object),
}


def check(function: Callable[[str], None]) -> Callable[[str], None]:
    CHECKS["check"][function.__name__] = function
    return function


def check_permissive(function: Callable[[str], None]) -> Callable[[str], None]:
    CHECKS["check_permissive"][function.__name__] = function
    return function


def check_as_sent(function: Callable[[str], None]) -> Callable[[str], None]:
    CHECKS["check_as_sent"][function.__name__] = function
    return function


def tensor(name: str, array: np.ndarray[Any, Any], datatype: str) -> client.InferInput:
    made = client.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def fp32(*values: float) -> list[client.InferInput]:
    return [tensor("in_fp32", np.array([values], np.float32), "FP32")]


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    """Return the status code and the message that *call* fails with."""
    try:
        call()
    except InferenceServerException as error:
        return error.status().removeprefix("StatusCode."), error.message()
    raise AssertionError("it was not refused")


def same(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    if wanted.dtype == object:
        assert [element.decode() for element in found.ravel()] == wanted.ravel().tolist(), found
        assert found.shape == wanted.shape
        return
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@check
def the_server_describes_itself(address: str) -> None:
    with client.InferenceServerClient(address) as triton:
        assert triton.is_server_live()
        assert triton.is_server_ready()
        assert triton.get_server_metadata(as_json=True)["name"] == "turnout"
        assert triton.is_model_ready("price")
        assert triton.is_model_ready("price", "1")
        assert not triton.is_model_ready("nothing")
        assert "trace_mode" in triton.get_trace_settings(as_json=True)["settings"]
        assert "log_info" in triton.get_log_settings(as_json=True)["settings"]
        triton.unregister_system_shared_memory()
        assert triton.get_system_shared_memory_status(as_json=True) == {}
        triton.unregister_cuda_shared_memory()
        assert triton.get_cuda_shared_memory_status(as_json=True) == {}


@check
def models_describe_themselves(address: str) -> None:
    with client.InferenceServerClient(address) as triton:
        metadata = triton.get_model_metadata("price", as_json=True)
        assert metadata["inputs"][0] == {"name": "carat", "datatype": "FP32", "shape": ["-1", "1"]}, metadata
        assert triton.get_model_metadata("price").platform == "onnxruntime_onnx"
        config = triton.get_model_config("price", as_json=True)["config"]
        assert config["max_batch_size"] > 0
        assert config["input"][1] == {"name": "cut", "data_type": "TYPE_STRING", "dims": ["1"]}, config
        assert triton.get_model_config("recommendation").config.max_batch_size == 0
        index = triton.get_model_repository_index(as_json=True)["models"]
        assert {"name": "price", "version": "2", "state": "READY"} in index, index


@check
def requests_are_counted(address: str) -> None:
    with client.InferenceServerClient(address) as triton:
        before = triton.get_inference_statistics("echo-int16", as_json=True)["model_stats"][0]
        triton.infer("echo-int16", [tensor("in_int16", SAMPLES["INT16"], "INT16")])
        after = triton.get_inference_statistics("echo-int16").model_stats[0]
        assert after.inference_count == int(before.get("inference_count", 0)) + 2
        assert after.inference_stats.success.count == int(before["inference_stats"]["success"].get("count", 0)) + 1
        assert after.inference_stats.compute_infer.ns > 0
        assert len(triton.get_inference_statistics().model_stats) > 10


@check
def every_dtype_comes_back(address: str) -> None:
    with client.InferenceServerClient(address) as triton:
        for datatype, sample in SAMPLES.items():
            name = datatype.lower()
            for array in (sample, sample[:0], sample[:1, :0]):
                result = triton.infer(f"echo-{name}", [tensor(f"in_{name}", array, datatype)])
                same(result.as_numpy(f"out_{name}"), array)


@check
def many_inputs_and_outputs_travel_together(address: str) -> None:
    with client.InferenceServerClient(address) as triton:
        samples = {datatype: array for datatype, array in SAMPLES.items() if datatype != "BF16"}
        inputs = [tensor(f"in_{d.lower()}", array, d) for d, array in reversed(samples.items())]
        result = triton.infer("echo", inputs, request_id="all")
        for datatype, array in samples.items():
            same(result.as_numpy(f"out_{datatype.lower()}"), array)
        assert result.get_response().id == "all"
        wanted = [client.InferRequestedOutput(name) for name in ("out_bytes", "out_fp16")]
        response = triton.infer("echo", inputs, outputs=wanted).get_response()
        assert [output.name for output in response.outputs] == ["out_bytes", "out_fp16"]


def fill_typed(address: str, answered: Callable[[str, str, list[Any], Any], None]) -> None:
    """Send a typed request of each dtype, and hand on field, dtype, the values sent, and the answer."""
    fields = {"BOOL": "bool_contents", "INT8": "int_contents", "UINT16": "uint_contents", "INT64": "int64_contents"}
    fields |= {"FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents", "UINT64": "uint64_contents"}
    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        for datatype, field in fields.items():
            values = SAMPLES[datatype].ravel().tolist()
            values = [value.encode() for value in values] if datatype == "BYTES" else values
            request = service_pb2.ModelInferRequest(model_name=f"echo-{datatype.lower()}")
            one = request.inputs.add(name=f"in_{datatype.lower()}", datatype=datatype, shape=[2, 2])
            getattr(one.contents, field).extend(values)
            answered(field, datatype, values, infer(request))


@check
def typed_contents_get_raw_answers(address: str) -> None:
    """As Triton's own servers do, and its examples of raw stubs expect."""

    def answered(field: str, datatype: str, values: list[Any], response: Any) -> None:
        assert not response.outputs[0].HasField("contents")
        assert len(response.raw_output_contents) == 1
        same(client.InferResult(response).as_numpy(f"out_{datatype.lower()}"), SAMPLES[datatype])

    fill_typed(address, answered)


@check_as_sent
def typed_contents_get_typed_answers(address: str) -> None:
    def answered(field: str, datatype: str, values: list[Any], response: Any) -> None:
        assert not response.raw_output_contents
        found = list(getattr(response.outputs[0].contents, field))
        assert str(found) == str(values), (found, values)

    fill_typed(address, answered)


@check_as_sent
def raw_contents_get_raw_answers(address: str) -> None:
    with client.InferenceServerClient(address) as triton:
        result = triton.infer("echo-fp32", fp32(1, 2))
        assert not result.get_response().outputs[0].HasField("contents")
        same(result.as_numpy("out_fp32"), np.array([[1, 2]], np.float32))


@check
def the_answer_says_who_answered_and_why(address: str) -> None:
    inputs = [
        tensor("carat", np.array([[2.0]], np.float32), "FP32"),
        tensor("cut", np.array([["Ideal"]], dtype=object), "BYTES"),
    ]

    def ask(name: str = "price", **more: Any) -> tuple[float, dict[str, str], str]:
        result = triton.infer(name, inputs, **more)
        response = result.get_response()
        assert response.model_name == "price"
        parameters = {key: value.string_param for key, value in response.parameters.items()}
        assert parameters.pop("turnout_request_id")
        parameters.pop("turnout_propensity", None)  # a number
        return float(result.as_numpy("price")[0]), parameters, response.model_version

    with client.InferenceServerClient(address) as triton:
        price, parameters, version = ask(parameters={"unit_id": "vip"})
        assert (price, version) == (3000.0, "1")
        wanted = {
            "turnout_route": "price",
            "turnout_target": "control",
            "turnout_assigned_target": "control",
            "turnout_reason": "OVERRIDE",
        }
        assert parameters == wanted, parameters
        assert ask(headers={"x-qa": "on"})[1]["turnout_target"] == "canary"
        assert ask(headers={"x-turnout-unit": "u-1"})[1:] == ask(parameters={"unit_id": "u-1"})[1:]
        assert ask()[1]["turnout_reason"] == "UNSTICKY"
        assert ask(model_version="challenger")[1:] == (
            {"turnout_route": "", "turnout_target": "", "turnout_assigned_target": "", "turnout_reason": "PINNED"},
            "2",
        )


@check
def wrong_requests_get_clean_errors(address: str) -> None:
    good = fp32(1, 2)
    wide = [tensor("in_fp32", np.ones((1, 1, 1), np.float32), "FP32")]
    sequence = {"sequence_id": 5, "sequence_start": True}
    with client.InferenceServerClient(address) as triton:

        def infer(model: str = "echo-fp32", inputs: Sequence[client.InferInput] = good, **more: Any) -> tuple[str, str]:
            return refusal(lambda: triton.infer(model, inputs, **more))

        output = client.InferRequestedOutput
        refusals = {
            "unknown model": (infer("nothing"), "NOT_FOUND", "nothing"),
            "unknown version": (infer(model_version="99"), "NOT_FOUND", "99"),
            "unknown label": (infer(model_version="stable"), "NOT_FOUND", "stable"),
            "unknown input": (infer("echo-fp64"), "INVALID_ARGUMENT", "in_fp32"),
            "missing input": (infer(inputs=[]), "INVALID_ARGUMENT", "in_fp32"),
            "double input": (infer(inputs=good * 2), "INVALID_ARGUMENT", "twice"),
            "wrong rank": (infer(inputs=wide), "INVALID_ARGUMENT", "expected 2 dimensions"),
            "unknown output": (infer(outputs=[output("out")]), "INVALID_ARGUMENT", "out_fp32"),
            "double output": (infer(outputs=[output("out_fp32")] * 2), "INVALID_ARGUMENT", "twice"),
            "classification": (infer(outputs=[output("out_fp32", class_count=2)]), "UNIMPLEMENTED", "classification"),
            "sequence": (infer(**sequence), "UNIMPLEMENTED", "sequence"),
            "no model": (infer(""), "INVALID_ARGUMENT", "name: is empty"),
            "metadata": (refusal(lambda: triton.get_model_metadata("nothing")), "NOT_FOUND", "nothing"),
            "config": (refusal(lambda: triton.get_model_config("price", "9")), "NOT_FOUND", "9"),
            "load": (refusal(lambda: triton.load_model("price")), "PERMISSION_DENIED", "changes"),
            "unload": (refusal(lambda: triton.unload_model("price")), "PERMISSION_DENIED", "changes"),
            "override": (refusal(lambda: triton.load_model("price", config="{}")), "UNIMPLEMENTED", "parameters"),
            "shared memory": (
                refusal(lambda: triton.register_system_shared_memory("r", "/r", 8)),
                "PERMISSION_DENIED",
                "shared memory",
            ),
            "cuda": (
                refusal(lambda: triton.register_cuda_shared_memory("r", base64.b64encode(bytes(64)), 0, 8)),
                "UNIMPLEMENTED",
                "CUDA",
            ),
            "trace": (refusal(lambda: triton.update_trace_settings(settings={"a": "b"})), "UNIMPLEMENTED", "trace"),
            "log": (refusal(lambda: triton.update_log_settings({"log_info": False})), "UNIMPLEMENTED", "log"),
        }
        wrong = {what: said for what, (said, code, text) in refusals.items() if said[0] != code or text not in said[1]}
        assert not wrong, wrong
        assert not any("Traceback" in said[1] for said, _, _ in refusals.values())
        same(triton.infer("echo-fp32", good).as_numpy("out_fp32"), np.array([[1, 2]], np.float32))


@check
def a_message_beyond_the_limit_is_refused_and_the_server_stays(address: str) -> None:
    with client.InferenceServerClient(address) as triton:
        large = [tensor("in_fp32", np.zeros((5, 1_000_000), np.float32), "FP32")]
        code, _ = refusal(lambda: triton.infer("echo-fp32", large))
        assert code == "RESOURCE_EXHAUSTED", code
        large = [tensor("in_fp32", np.ones((4, 1_000_000), np.float32), "FP32")]
        assert triton.infer("echo-fp32", large).as_numpy("out_fp32").sum() == 4_000_000


@check
def deadlines_hold(address: str) -> None:
    inputs = [tensor("rounds", np.array([3000], np.int64), "INT64")]
    with client.InferenceServerClient(address) as triton:
        code, _ = refusal(lambda: triton.infer("slow", inputs, client_timeout=0.1))
        assert code == "DEADLINE_EXCEEDED", code


@check
def compressed_and_asynchronous_requests_are_answered(address: str) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with client.InferenceServerClient(address) as triton:
        for number in range(20):
            triton.async_infer(
                "echo-fp32",
                fp32(number),
                callback=lambda result, error: answers.put(error or result.as_numpy("out_fp32").item()),
                compression_algorithm="gzip" if number % 2 else "deflate",
            )
        found = [answers.get(timeout=30) for _ in range(20)]
    assert sorted(found) == list(range(20)), found


@check
def a_stream_is_answered_in_order_and_survives_errors(address: str) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with client.InferenceServerClient(address) as triton:
        triton.start_stream(callback=lambda result, error: answers.put((result, error)))
        for number in range(200):
            model = "nothing" if number == 100 else "echo-fp32"
            triton.async_stream_infer(
                model, fp32(number), request_id=str(number), enable_empty_final_response=number == 150
            )
        triton.stop_stream()
    found = [answers.get(timeout=30) for _ in range(200)]
    assert answers.empty()
    for number, (result, error) in enumerate(found):
        if number == 100:
            assert "ROUTE_NOT_FOUND" in error.message(), error
            continue
        assert error is None, error
        response = result.get_response()
        assert response.id == str(number)
        assert result.as_numpy("out_fp32").item() == number
        assert response.parameters["triton_final_response"].bool_param is (number == 150)


@check
def a_stream_ends_with_a_status_where_that_was_asked_for(address: str) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with client.InferenceServerClient(address) as triton:
        triton.start_stream(
            callback=lambda result, error: answers.put(error or result), headers={"triton_grpc_error": "true"}
        )
        triton.async_stream_infer("nothing", fp32(1))
        error = answers.get(timeout=30)
        triton.stop_stream()
    assert error.status() == "StatusCode.NOT_FOUND", error


@check
def a_stream_that_is_dropped_leaves_the_server_well(address: str) -> None:
    with client.InferenceServerClient(address) as triton:
        triton.start_stream(callback=lambda result, error: None)
        for _ in range(50):
            triton.async_stream_infer("slow", [tensor("rounds", np.array([20], np.int64), "INT64")])
        triton.stop_stream(cancel_requests=True)
        same(triton.infer("echo-fp32", fp32(1)).as_numpy("out_fp32"), np.array([[1]], np.float32))


@check
def the_asyncio_client_is_answered(address: str) -> None:
    asyncio.run(_asyncio_client(address))


async def _asyncio_client(address: str) -> None:
    async with aio.InferenceServerClient(address) as triton:
        results = await asyncio.gather(*(triton.infer("echo-fp32", fp32(number)) for number in range(50)))
        assert [result.as_numpy("out_fp32").item() for result in results] == list(range(50))

        async def requests() -> AsyncIterator[dict[str, Any]]:
            for number in range(20):
                yield {"model_name": "echo-fp32", "inputs": fp32(number), "request_id": str(number)}

        ids = [result.get_response().id async for result, _ in triton.stream_infer(requests())]
        assert ids == [str(number) for number in range(20)], ids


@check_permissive
def tensors_travel_in_shared_memory(address: str) -> None:
    sent = np.array([[1, 2], [3, 4]], np.float32)
    key = f"/turnout-test-{secrets.token_hex(8)}"
    region = shared_memory.create_shared_memory_region("region", key, 64)
    try:
        shared_memory.set_shared_memory_region(region, [sent], offset=16)
        with client.InferenceServerClient(address) as triton:
            triton.unregister_system_shared_memory()
            triton.register_system_shared_memory("region", key, 64)
            status = triton.get_system_shared_memory_status(as_json=True)["regions"]
            assert status == {"region": {"name": "region", "key": key, "byte_size": "64"}}, status
            code, _ = refusal(lambda: triton.register_system_shared_memory("region", key, 64))
            assert code == "ABORTED", code
            given = client.InferInput("in_fp32", [2, 2], "FP32")
            given.set_shared_memory("region", 16, offset=16)
            wanted = client.InferRequestedOutput("out_fp32")
            wanted.set_shared_memory("region", 16, offset=40)
            response = triton.infer("echo-fp32", [given], outputs=[wanted]).get_response()
            assert list(response.raw_output_contents) == [b""]
            assert response.outputs[0].parameters["shared_memory_offset"].int64_param == 40
            same(shared_memory.get_contents_as_numpy(region, np.float32, [2, 2], offset=40), sent)
            same(triton.infer("echo-fp32", [given]).as_numpy("out_fp32"), sent)
            given.set_shared_memory("region", 16, offset=56)
            code, text = refusal(lambda: triton.infer("echo-fp32", [given]))
            assert (code, "beyond its end" in text) == ("INVALID_ARGUMENT", True), text
            triton.unregister_system_shared_memory("region")
            code, _ = refusal(lambda: triton.infer("echo-fp32", [given]))
            assert code == "NOT_FOUND", code
            for wrong in ("/turnout-test-nothing", "/../etc/passwd", "/etc/passwd"):
                code, _ = refusal(lambda wrong=wrong: triton.register_system_shared_memory("w", wrong, 1))
                assert code == "INVALID_ARGUMENT", (wrong, code)
    finally:
        shared_memory.destroy_shared_memory_region(region)


@check_permissive
def models_are_unloaded_and_loaded_again(address: str) -> None:
    with client.InferenceServerClient(address) as triton:
        triton.unload_model("echo-fp32")
        assert not triton.is_model_ready("echo-fp32")
        index = triton.get_model_repository_index().models
        assert [model.state for model in index if model.name == "echo-fp32"] == ["UNAVAILABLE"]
        code, _ = refusal(lambda: triton.infer("echo-fp32", fp32(1)))
        assert code == "UNAVAILABLE", code
        triton.load_model("echo-fp32")
        assert triton.is_model_ready("echo-fp32")
        same(triton.infer("echo-fp32", fp32(1)).as_numpy("out_fp32"), np.array([[1]], np.float32))
        assert refusal(lambda: triton.load_model("nothing"))[0] == "NOT_FOUND"


def main(group: str, address: str) -> None:
    """Run every check of *group* against *address*."""
    outcomes = {}
    for name, function in CHECKS[group].items():
        try:
            function(address)
            outcomes[name] = ""
        except Exception:
            outcomes[name] = traceback.format_exc()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
