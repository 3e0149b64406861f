"""What is made here is what gRPC publishes, and is in nobody's way who has it already."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from turnout_server.rpc import standard
from turnout_server.rpc.standard import HEALTH, REFLECTION, REFLECTION_ALPHA, HealthListResponse


def written(service: ServiceDescriptor) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    service.file.CopyToProto(proto)
    return proto


def shape(method: MethodDescriptor) -> tuple[str, str, bool, bool]:
    types = method.input_type.full_name, method.output_type.full_name
    return *types, method.client_streaming, method.server_streaming


def test_what_is_made_is_in_a_pool_of_its_own() -> None:
    """Where the packages have caught up, the same names with other contents would be an error at import."""
    everybodys = descriptor_pool.Default()
    assert HEALTH.file.pool is REFLECTION.file.pool
    assert HEALTH.file.pool is not everybodys
    assert REFLECTION_ALPHA.file.pool is everybodys


def test_health_is_the_packages_with_its_list() -> None:
    package = "grpc.health.v1"
    plain = health_pb2.DESCRIPTOR.services_by_name["Health"].methods_by_name
    assert {name: shape(HEALTH.methods_by_name[name]) for name in plain} == {
        name: shape(method) for name, method in plain.items()
    }
    listing = shape(HEALTH.methods_by_name["List"])
    assert listing == (f"{package}.HealthListRequest", f"{package}.HealthListResponse", False, False)


def test_a_list_of_healths_has_the_published_bytes() -> None:
    """`map<string, HealthCheckResponse> statuses = 1`."""
    response: Any = HealthListResponse()
    response.statuses["a"].status = health_pb2.HealthCheckResponse.SERVING
    assert response.SerializeToString() == b"\x0a\x07\x0a\x01a\x12\x02\x08\x01"


def test_a_package_that_has_caught_up_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard, "_POOL", DescriptorPool())
    monkeypatch.setattr(standard, "health_pb2", SimpleNamespace(DESCRIPTOR=HEALTH.file))
    assert written(standard._health()) == written(HEALTH)


def test_reflection_differs_from_its_alpha_in_its_package_alone() -> None:
    new, old = written(REFLECTION), written(REFLECTION_ALPHA)
    assert (new.name, new.package) == ("grpc/reflection/v1/reflection.proto", "grpc.reflection.v1")
    assert "v1alpha" not in str(new)
    assert str(new).replace("grpc.reflection.v1", old.package) == str(old).replace(old.name, new.name)


def test_both_reflections_read_the_same_bytes() -> None:
    (method,) = REFLECTION.methods
    assert (method.client_streaming, method.server_streaming) == (True, True)
    older = reflection_pb2.ServerReflectionRequest(
        host="here", file_containing_extension={"containing_type": "a.B", "extension_number": 7}
    )
    newer: Any = GetMessageClass(method.input_type).FromString(older.SerializeToString())
    assert newer.file_containing_extension.extension_number == 7
    assert newer.SerializeToString() == older.SerializeToString()
