"""What clients are told of services and their messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb

from tests.rpc.inference import FakeCall
from turnout_server.rpc.reflection import Reflection
from turnout_server.rpc.standard import HEALTH, REFLECTION, REFLECTION_ALPHA
from turnout_server.rpc.stubs import open_inference_pb2

TENSORS = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
SERVICES = (TENSORS, HEALTH, REFLECTION, REFLECTION_ALPHA)
NOT_FOUND, INVALID = 5, 3


async def asked(*requests: pb.ServerReflectionRequest, of: Reflection | None = None) -> list[Any]:
    reflection = of or Reflection(SERVICES, (error_details_pb2.DESCRIPTOR,))

    async def all_of() -> AsyncIterator[pb.ServerReflectionRequest]:
        for request in requests:
            yield request

    return [answer async for answer in reflection.ServerReflectionInfo(all_of(), FakeCall())]


async def files(**request: Any) -> list[FileDescriptorProto]:
    (answer,) = await asked(pb.ServerReflectionRequest(**request))
    assert not answer.HasField("error_response"), answer
    return [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]


async def test_services_are_listed_in_order_and_questions_come_back() -> None:
    request = pb.ServerReflectionRequest(host="here", list_services="")
    (answer,) = await asked(request)
    names = [service.name for service in answer.list_services_response.service]
    assert names == sorted(service.full_name for service in SERVICES)
    assert (answer.valid_host, answer.original_request) == ("here", request)


@pytest.mark.parametrize(
    "symbol",
    [
        "inference.GRPCInferenceService",
        "inference.GRPCInferenceService.ModelInfer",
        "inference.ModelInferRequest",
        "inference.ModelInferRequest.id",
        "inference.ModelInferRequest.InferInputTensor",
        "inference.ModelInferRequest.InferInputTensor.shape",
        "inference.ModelInferRequest.ParametersEntry",
        "inference.InferParameter.parameter_choice",
        "inference.DataType",
        "inference.DataType.TYPE_FP32",
        "inference.TYPE_FP32",
    ],
)
async def test_every_symbol_is_found(symbol: str) -> None:
    assert (await files(file_containing_symbol=symbol))[0].package == "inference"


async def test_details_of_errors_are_found_and_what_they_need_comes_along() -> None:
    found = [file.name for file in await files(file_containing_symbol="google.rpc.RetryInfo")]
    assert found == ["google/rpc/error_details.proto", "google/protobuf/duration.proto"]


async def test_a_file_is_found_by_its_name() -> None:
    assert (await files(file_by_filename="google/protobuf/duration.proto"))[0].package == "google.protobuf"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (pb.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService.Nothing"), NOT_FOUND),
        (pb.ServerReflectionRequest(file_by_filename="etc/passwd"), NOT_FOUND),
        (pb.ServerReflectionRequest(all_extension_numbers_of_type="inference.GRPCInferenceService"), NOT_FOUND),
        (pb.ServerReflectionRequest(all_extension_numbers_of_type="inference.Nothing"), NOT_FOUND),
        (pb.ServerReflectionRequest(file_containing_extension=pb.ExtensionRequest(containing_type="a.B")), NOT_FOUND),
        (pb.ServerReflectionRequest(), INVALID),
    ],
)
async def test_what_is_not_there_is_said_and_the_next_question_is_answered(
    request_: pb.ServerReflectionRequest, code: int
) -> None:
    refused, listed = await asked(request_, pb.ServerReflectionRequest(list_services=""))
    assert refused.error_response.error_code == code
    assert listed.list_services_response.service


async def test_both_versions_describe_themselves_and_are_alike() -> None:
    (new,), (old,) = [
        await files(file_containing_symbol=f"grpc.reflection.{version}.ServerReflection")
        for version in ("v1", "v1alpha")
    ]
    assert (new.package, old.package) == ("grpc.reflection.v1", "grpc.reflection.v1alpha")
    assert [message.name for message in new.message_type] == [message.name for message in old.message_type]
    assert new.service[0].method[0].input_type == ".grpc.reflection.v1.ServerReflectionRequest"


async def test_health_has_its_list() -> None:
    (file,) = await files(file_containing_symbol="grpc.health.v1.Health.List")
    assert [method.name for method in file.service[0].method] == ["Check", "Watch", "List"]


async def test_extensions_are_found_by_message_and_number() -> None:
    pool = DescriptorPool()
    base = FileDescriptorProto(name="base.proto", package="t")
    base.message_type.add(name="Base").extension_range.add(start=100, end=200)
    more = FileDescriptorProto(name="more.proto", package="t", dependency=["base.proto"])
    number = {"type": FieldDescriptorProto.TYPE_INT32, "label": FieldDescriptorProto.LABEL_OPTIONAL}
    more.extension.add(name="top", extendee=".t.Base", number=101, **number)
    holder: DescriptorProto = more.message_type.add(name="Holder")
    holder.extension.add(name="within", extendee=".t.Base", number=100, **number)
    pool.Add(base)
    pool.Add(more)
    reflection = Reflection((), (pool.FindFileByName("more.proto"),))
    extension = pb.ExtensionRequest(containing_type="t.Base", extension_number=100)
    numbers, file, symbol = await asked(
        pb.ServerReflectionRequest(all_extension_numbers_of_type="t.Base"),
        pb.ServerReflectionRequest(file_containing_extension=extension),
        pb.ServerReflectionRequest(file_containing_symbol="t.Holder.within"),
        of=reflection,
    )
    assert list(numbers.all_extension_numbers_response.extension_number) == [100, 101]
    for answer in (file, symbol):
        names = [
            FileDescriptorProto.FromString(raw).name for raw in answer.file_descriptor_response.file_descriptor_proto
        ]
        assert names == ["more.proto", "base.proto"]
