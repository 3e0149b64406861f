"""gRPC's own services as they are today: `grpcio-health-checking` and `grpcio-reflection` are behind.

What is missing there is made here, in a pool of its own, so that it does not matter once they have caught up.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import text_format
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

_POOL: Final = DescriptorPool()


WHY_NUMBER: Final = 1000
"""Of the field that we add to `grpc.health.v1.HealthCheckResponse`: far from those that gRPC may add."""


def _health() -> ServiceDescriptor:
    """Return `grpc.health.v1.Health`, with `List`, and with a field of ours that says why something does not serve.

    Clients that don't know the field pass over it; who asks by reflection, such as grpcurl, sees it.
    """
    file = _file_of(health_pb2)
    (service,) = file.service
    (answer,) = [message for message in file.message_type if message.name == "HealthCheckResponse"]
    kind, label = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.LABEL_OPTIONAL
    if all(field.name != "why" for field in answer.field):
        answer.field.add(name="why", json_name="why", number=WHY_NUMBER, type=kind, label=label)
    if all(method.name != "List" for method in service.method):
        file.message_type.add(name="HealthListRequest")
        response = file.message_type.add(name="HealthListResponse")
        entry = response.nested_type.add(name="StatusesEntry")
        entry.options.map_entry = True
        text, message = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_MESSAGE
        one, many = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
        of = f".{file.package}"
        entry.field.add(name="key", number=1, type=text, label=one)
        entry.field.add(name="value", number=2, type=message, type_name=f"{of}.HealthCheckResponse", label=one)
        entries = f"{of}.HealthListResponse.StatusesEntry"
        response.field.add(name="statuses", number=1, type=message, type_name=entries, label=many)
        service.method.add(name="List", input_type=f"{of}.HealthListRequest", output_type=f"{of}.HealthListResponse")
    return _service(file)


def _reflection() -> ServiceDescriptor:
    """Return `grpc.reflection.v1.ServerReflection`, whose messages are those of v1alpha, field by field."""
    older = reflection_pb2.DESCRIPTOR.package
    text = text_format.MessageToString(_file_of(reflection_pb2)).replace(older, "grpc.reflection.v1")
    file = text_format.Parse(text, FileDescriptorProto())
    file.name = "grpc/reflection/v1/reflection.proto"
    return _service(file)


def _file_of(module: Any) -> FileDescriptorProto:
    file = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file


def _service(file: FileDescriptorProto) -> ServiceDescriptor:
    _POOL.Add(file)
    return _find(_POOL, f"{file.package}.{file.service[0].name}")


def _find(pool: Any, name: str) -> ServiceDescriptor:
    service: Any = pool.FindServiceByName(name)
    return service  # type: ignore[no-any-return]


HEALTH: Final = _health()
REFLECTION: Final = _reflection()
REFLECTION_ALPHA: Final = _find(reflection_pb2.DESCRIPTOR.pool, "grpc.reflection.v1alpha.ServerReflection")
HealthCheckResponse: Final[type[Message]] = GetMessageClass(HEALTH.methods_by_name["Check"].output_type)
"""A status, and why it is what it is."""
HealthListResponse: Final[type[Message]] = GetMessageClass(HEALTH.methods_by_name["List"].output_type)
"""The statuses of services by their names."""
