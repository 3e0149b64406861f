"""`inference.GRPCInferenceService` as its clients see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from tests.rpc.inference import Echo, FakeCall, fp32_request, response_arrays
from turnout_server.config import Answers
from turnout_server.gateway.administration import Administration
from turnout_server.gateway.catalog import Catalog, Description
from turnout_server.instruments.statistics import BatchStatistics, Duration, VersionStatistics
from turnout_server.rpc.open_inference.servicer import STREAM_ROOM, OpenInferenceServicer
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.serving.state import State, VersionStatus
from turnout_server.store.audit import By
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.errors import (
    ChangesDisabledError,
    InvalidRequestError,
    NotSupportedError,
    QueueFullError,
    RouteNotFoundError,
    SharedMemoryDisabledError,
    SharedMemoryRegionNotFoundError,
    TurnoutError,
    UnknownOutputError,
)
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.versions import VersionKey

CALL = FakeCall()
SIGNATURE = Signature(
    inputs=(TensorSpec("x", DType.FP32, (-1, 4)), TensorSpec("s", DType.BYTES, (-1,))),
    outputs=(TensorSpec("y", DType.FP16, (-1, -1)),),
)


class FakeCatalog:
    """Knows the route `price` and counts what is asked of it."""

    def __init__(self) -> None:
        self.signature = SIGNATURE
        self.allow_changes = True
        self.loaded: list[str] = []
        self.unloaded: list[str] = []
        self.statuses: tuple[VersionStatus, ...] = ()
        self.counts: dict[VersionKey, VersionStatistics] = {}

    def describe(self, name: str, version: str = "") -> Description:
        if name != "price":
            raise RouteNotFoundError(name)
        manifest = Manifest(1, "diamonds", 7, Task.PRICE, "2026-11-01T00:00:00Z", (), self.signature)
        return Description("price", (6, 7), manifest)

    def is_ready(self, name: str, version: str = "") -> bool:
        return name == "price"

    def status(self, model: str = "") -> tuple[VersionStatus, ...]:
        return self.statuses

    def statistics(self, name: str = "", version: str = "") -> tuple[tuple[VersionKey, VersionStatistics], ...]:
        if name not in ("", "price"):
            raise RouteNotFoundError(name)
        return tuple(self.counts.items())

    async def load(self, model: str, by: By) -> None:
        if not self.allow_changes:
            raise ChangesDisabledError
        self.loaded.append(model)

    async def unload(self, model: str, by: By) -> None:
        self.unloaded.append(model)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def catalog() -> FakeCatalog:
    return FakeCatalog()


@pytest.fixture
def servicer(echo: Echo, catalog: FakeCatalog) -> OpenInferenceServicer:
    return OpenInferenceServicer(echo, cast(Catalog, catalog), cast(Administration, catalog))


def test_every_rpc_has_its_method(servicer: OpenInferenceServicer) -> None:
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert [method.name for method in service.methods if not callable(getattr(servicer, method.name, None))] == []


# ---------------------------------------------------------------- inference


@pytest.mark.parametrize(("answers", "raw"), [("raw", True), ("as_sent", False)])
async def test_the_form_of_answers_is_a_setting(echo: Echo, catalog: FakeCatalog, answers: Answers, raw: bool) -> None:
    servicer = OpenInferenceServicer(echo, cast(Catalog, catalog), cast(Administration, catalog), answers=answers)
    request = pb.ModelInferRequest(model_name="price")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(1)
    assert bool((await servicer.ModelInfer(request, CALL)).raw_output_contents) is raw


async def test_a_request_is_answered(servicer: OpenInferenceServicer) -> None:
    response = await servicer.ModelInfer(fp32_request(1, 2, id="r"), CALL)
    assert response.id == "r"
    assert response_arrays(response)["x"].tolist() == [[1], [2]]


async def test_an_unknown_output_is_refused(servicer: OpenInferenceServicer) -> None:
    request = fp32_request(1)
    request.outputs.add(name="z")
    with pytest.raises(UnknownOutputError):
        await servicer.ModelInfer(request, CALL)


async def stream(*requests: pb.ModelInferRequest, then: asyncio.Event | None = None) -> AsyncIterator[Any]:
    for request in requests:
        yield request
    if then is not None:
        await then.wait()


async def test_a_stream_answers_in_order_while_later_requests_run(servicer: OpenInferenceServicer, echo: Echo) -> None:
    echo.gates = {name: asyncio.Event() for name in ("slow", "fast")}
    requests = [fp32_request(1, model_name="slow", id="1"), fp32_request(2, model_name="fast", id="2")]

    async def collect() -> list[str]:
        return [answer.infer_response.id async for answer in servicer.ModelStreamInfer(stream(*requests), CALL)]

    collecting = asyncio.create_task(collect())
    while len(echo.waiting) < 2:
        await asyncio.sleep(0)
    echo.gates["fast"].set()
    echo.gates["slow"].set()
    assert await collecting == ["1", "2"]


async def test_every_request_of_a_closed_stream_is_answered(servicer: OpenInferenceServicer) -> None:
    count = 5 * STREAM_ROOM.requests
    requests = [fp32_request(index, id=str(index)) for index in range(count)]
    answers = [answer.infer_response.id async for answer in servicer.ModelStreamInfer(stream(*requests), CALL)]
    assert answers == [str(index) for index in range(count)]


async def test_a_vanished_client_leaves_nothing_running(servicer: OpenInferenceServicer, echo: Echo) -> None:
    before = asyncio.all_tasks()
    echo.gates = {"slow": asyncio.Event()}
    requests = stream(*[fp32_request(1, model_name="slow")] * 3, then=asyncio.Event())

    async def consume() -> None:
        async for _ in servicer.ModelStreamInfer(requests, CALL):
            pass

    consuming = asyncio.create_task(consume())
    while len(echo.waiting) < 3:
        await asyncio.sleep(0)
    consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consuming
    assert echo.cancelled == ["slow"] * 3
    assert asyncio.all_tasks() == before


async def test_an_error_is_an_answer_and_the_stream_goes_on(servicer: OpenInferenceServicer) -> None:
    requests = [fp32_request(1, id="1"), fp32_request(2, id="2"), fp32_request(3, id="3")]
    requests[1].inputs[0].datatype = "INT8"
    answers = [answer async for answer in servicer.ModelStreamInfer(stream(*requests), CALL)]
    assert [answer.infer_response.id for answer in answers] == ["1", "2", "3"]
    assert [answer.error_message for answer in answers] == [
        "",
        "INPUT_INVALID: input 'x': expected datatype FP32, found 'INT8'",
        "",
    ]


async def test_an_error_ends_the_stream_where_that_was_asked_for(servicer: OpenInferenceServicer, echo: Echo) -> None:
    echo.error = QueueFullError("m", 1, 0.1)
    call = FakeCall({"triton_grpc_error": "true"})
    with pytest.raises(QueueFullError):
        _ = [answer async for answer in servicer.ModelStreamInfer(stream(fp32_request(1)), call)]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("model", ["m", ""])
async def test_the_last_answer_is_marked_where_that_was_asked_for(
    servicer: OpenInferenceServicer, asked: bool, model: str
) -> None:
    request = fp32_request(1, model_name=model)
    if asked:
        request.parameters["triton_enable_empty_final_response"].bool_param = True
    (answer,) = [answer async for answer in servicer.ModelStreamInfer(stream(request), CALL)]
    assert ("triton_final_response" in answer.infer_response.parameters) is asked
    assert answer.infer_response.parameters["triton_final_response"].bool_param is asked


async def test_a_unary_answer_is_not_marked(servicer: OpenInferenceServicer) -> None:
    request = fp32_request(1)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    assert "triton_final_response" not in (await servicer.ModelInfer(request, CALL)).parameters


# ---------------------------------------------------------------- the server


async def test_the_server_says_what_it_is(servicer: OpenInferenceServicer, catalog: FakeCatalog) -> None:
    assert (await servicer.ServerLive(pb.ServerLiveRequest(), CALL)).live
    assert (await servicer.ServerReady(pb.ServerReadyRequest(), CALL)).ready
    metadata = await servicer.ServerMetadata(pb.ServerMetadataRequest(), CALL)
    assert metadata.name == "turnout"
    assert metadata.version
    assert "system_shared_memory" not in metadata.extensions
    sharing = OpenInferenceServicer(
        Echo(), cast(Catalog, catalog), cast(Administration, catalog), True, ready=lambda: False
    )
    assert "system_shared_memory" in (await sharing.ServerMetadata(pb.ServerMetadataRequest(), CALL)).extensions
    assert not (await sharing.ServerReady(pb.ServerReadyRequest(), CALL)).ready


# ---------------------------------------------------------------- models


async def test_what_does_not_exist_is_not_ready(servicer: OpenInferenceServicer) -> None:
    assert (await servicer.ModelReady(pb.ModelReadyRequest(name="price"), CALL)).ready
    assert not (await servicer.ModelReady(pb.ModelReadyRequest(name="nothing"), CALL)).ready


async def test_metadata_shapes_include_the_batch_axis(servicer: OpenInferenceServicer) -> None:
    metadata = await servicer.ModelMetadata(pb.ModelMetadataRequest(name="price"), CALL)
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("price", ["6", "7"], "onnxruntime_onnx")
    inputs = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs]
    assert inputs == [("x", "FP32", [-1, 4]), ("s", "BYTES", [-1])]
    assert [(tensor.name, list(tensor.shape)) for tensor in metadata.outputs] == [("y", [-1, -1])]


async def config(servicer: OpenInferenceServicer) -> pb.ModelConfig:
    return (await servicer.ModelConfig(pb.ModelConfigRequest(name="price"), CALL)).config


async def test_a_batched_models_dims_leave_out_the_batch_axis(servicer: OpenInferenceServicer) -> None:
    described = await config(servicer)
    assert described.max_batch_size > 0
    assert described.HasField("dynamic_batching")
    assert [(tensor.data_type, list(tensor.dims)) for tensor in described.input] == [
        (pb.TYPE_FP32, [4]),
        (pb.TYPE_STRING, []),
    ]
    assert [(tensor.data_type, list(tensor.dims)) for tensor in described.output] == [(pb.TYPE_FP16, [-1])]
    assert (described.platform, described.backend) == ("onnxruntime_onnx", "onnxruntime")
    assert described.parameters["task"].string_value == "price"


@pytest.mark.parametrize("output", [(-1, -1), (3,), ()])
async def test_a_model_whose_rows_cannot_be_told_apart_shows_whole_shapes(
    servicer: OpenInferenceServicer, catalog: FakeCatalog, output: tuple[int, ...]
) -> None:
    outputs = (TensorSpec("y", DType.FP32, output),)
    catalog.signature = Signature(inputs=SIGNATURE.inputs, outputs=outputs, batched=output != (-1, -1))
    described = await config(servicer)
    assert described.max_batch_size == 0
    assert not described.HasField("dynamic_batching")
    assert list(described.input[0].dims) == [-1, 4]
    assert list(described.output[0].dims) == list(output)


async def test_every_datatype_has_its_name_in_a_configuration(
    servicer: OpenInferenceServicer, catalog: FakeCatalog
) -> None:
    tensors = tuple(TensorSpec(dtype.value, dtype, (-1,)) for dtype in DType)
    catalog.signature = Signature(inputs=tensors, outputs=tensors)
    names = {tensor.name: pb.DataType.Name(tensor.data_type) for tensor in (await config(servicer)).input}
    assert names.pop("BYTES") == "TYPE_STRING"
    assert names == {name: f"TYPE_{name}" for name in names}


async def test_statistics_carry_every_count(servicer: OpenInferenceServicer, catalog: FakeCatalog) -> None:
    counts = VersionStatistics(last_inference_ms=5, inference_count=6, execution_count=7)
    for index, name in enumerate(
        ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"), start=1
    ):
        setattr(counts, name, Duration(index, index * 100))
    counts.batches = {8: BatchStatistics(compute_infer=Duration(2, 20)), 1: BatchStatistics()}
    catalog.counts = {VersionKey("diamonds", 7): counts}
    response = await servicer.ModelStatistics(pb.ModelStatisticsRequest(name="price"), CALL)
    (stats,) = response.model_stats
    assert (stats.name, stats.version) == ("diamonds", "7")
    assert (stats.last_inference, stats.inference_count, stats.execution_count) == (5, 6, 7)
    durations = stats.inference_stats
    found = [durations.success, durations.fail, durations.queue]
    found += [durations.compute_input, durations.compute_infer, durations.compute_output]
    assert [(duration.count, duration.ns) for duration in found] == [(n, n * 100) for n in range(1, 7)]
    assert [(batch.batch_size, batch.compute_infer.ns) for batch in stats.batch_stats] == [(1, 0), (8, 20)]


# ---------------------------------------------------------------- the repository


@pytest.mark.parametrize("only_ready", [True, False])
async def test_the_index_uses_the_protocols_states(
    servicer: OpenInferenceServicer, catalog: FakeCatalog, only_ready: bool
) -> None:
    catalog.statuses = tuple(
        VersionStatus(VersionKey("m", number), state, "why" if state is State.FAILED else "")
        for number, state in enumerate(State, start=1)
    )
    index = await servicer.RepositoryIndex(pb.RepositoryIndexRequest(ready=only_ready), CALL)
    found = [(model.version, model.state, model.reason) for model in index.models]
    everything = [
        ("1", "UNAVAILABLE", ""),
        ("2", "LOADING", ""),
        ("3", "READY", ""),
        ("4", "UNLOADING", ""),
        ("5", "UNAVAILABLE", "why"),
    ]
    assert found == ([everything[2]] if only_ready else everything)


async def test_models_are_loaded_and_unloaded(servicer: OpenInferenceServicer, catalog: FakeCatalog) -> None:
    await servicer.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="m"), CALL)
    parameters = {"unload_dependents": pb.ModelRepositoryParameter(bool_param=False)}
    await servicer.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="n", parameters=parameters), CALL)
    assert (catalog.loaded, catalog.unloaded) == (["m"], ["n"])
    catalog.allow_changes = False
    with pytest.raises(ChangesDisabledError):
        await servicer.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="m"), CALL)


@pytest.mark.parametrize("key", ["config", "file:1/model.onnx"])
async def test_a_versions_files_cannot_be_replaced_by_a_request(
    servicer: OpenInferenceServicer, catalog: FakeCatalog, key: str
) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="m")
    request.parameters[key].bytes_param = b"x"
    with pytest.raises(NotSupportedError):
        await servicer.RepositoryModelLoad(request, CALL)
    assert catalog.loaded == []


# ---------------------------------------------------------------- shared memory and settings


async def test_without_shared_memory_status_is_empty_and_registering_forbidden(servicer: OpenInferenceServicer) -> None:
    assert not (await servicer.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(), CALL)).regions
    await servicer.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(), CALL)
    request = pb.SystemSharedMemoryRegisterRequest(name="r", key="/r", byte_size=1)
    with pytest.raises(SharedMemoryDisabledError):
        await servicer.SystemSharedMemoryRegister(request, CALL)
    with pytest.raises(SharedMemoryRegionNotFoundError):
        await servicer.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(name="r"), CALL)


@pytest.mark.parametrize("asked", ["", "m"])
async def test_settings_can_be_read_but_not_changed(servicer: OpenInferenceServicer, asked: str) -> None:
    trace = await servicer.TraceSetting(pb.TraceSettingRequest(model_name="price" if asked else ""), CALL)
    assert list(trace.settings["trace_mode"].value) == ["opentelemetry"]
    log = await servicer.LogSettings(pb.LogSettingsRequest(), CALL)
    assert log.settings["log_info"].bool_param
    assert log.settings["log_verbose_level"].uint32_param == 0
    change = pb.TraceSettingRequest()
    change.settings["trace_level"].value.append(asked)
    with pytest.raises(NotSupportedError):
        await servicer.TraceSetting(change, CALL)
    with pytest.raises(NotSupportedError):
        await servicer.LogSettings(
            pb.LogSettingsRequest(settings={"log_info": pb.LogSettingsRequest.SettingValue(bool_param=False)}), CALL
        )


@pytest.mark.parametrize(
    ("level", "shown"), [("debug", [1, 1, 1, 1]), ("warning", [0, 1, 1, 0]), ("error", [0, 0, 1, 0])]
)
async def test_log_settings_tell_the_level(catalog: FakeCatalog, level: str, shown: list[int]) -> None:
    servicer = OpenInferenceServicer(Echo(), cast(Catalog, catalog), cast(Administration, catalog), log_level=level)
    settings = (await servicer.LogSettings(pb.LogSettingsRequest(), CALL)).settings
    found: list[int] = [settings[f"log_{name}"].bool_param for name in ("info", "warning", "error")]
    assert [*found, settings["log_verbose_level"].uint32_param] == shown


@pytest.mark.parametrize("name", ["", "r"])
async def test_there_is_no_cuda_shared_memory_to_forget(servicer: OpenInferenceServicer, name: str) -> None:
    assert not (await servicer.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest(), CALL)).regions
    await servicer.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest(name=name), CALL)


REFUSED: Mapping[str, tuple[object, type[TurnoutError]]] = {
    "CudaSharedMemoryStatus": (pb.CudaSharedMemoryStatusRequest(name="r"), SharedMemoryRegionNotFoundError),
    "CudaSharedMemoryRegister": (pb.CudaSharedMemoryRegisterRequest(name="r"), NotSupportedError),
    "ModelReady": (pb.ModelReadyRequest(), InvalidRequestError),
    "ModelMetadata": (pb.ModelMetadataRequest(), InvalidRequestError),
    "ModelConfig": (pb.ModelConfigRequest(name="nothing"), RouteNotFoundError),
    "ModelStatistics": (pb.ModelStatisticsRequest(name="nothing"), RouteNotFoundError),
    "RepositoryIndex": (pb.RepositoryIndexRequest(repository_name="r"), NotSupportedError),
    "RepositoryModelLoad": (pb.RepositoryModelLoadRequest(), InvalidRequestError),
    "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest(), InvalidRequestError),
    "TraceSetting": (pb.TraceSettingRequest(model_name="nothing"), RouteNotFoundError),
}


@pytest.mark.parametrize("method", REFUSED)
async def test_what_cannot_be_answered_is_refused(servicer: OpenInferenceServicer, method: str) -> None:
    request, error = REFUSED[method]
    with pytest.raises(error):
        await getattr(servicer, method)(request, CALL)
