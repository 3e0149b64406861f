"""The few messages that this client needs of other people's protos, in a descriptor pool of their own.

They are wire-compatible with `google.rpc` and `grpc.health.v1`. Being private, they need no further package and cannot
clash with the real ones when a process imports both.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "turnout.client.wire"

_MESSAGES = {
    # google/rpc/status.proto; Detail is google.protobuf.Any.
    "Status": {"details": (3, "repeated Detail")},
    "Detail": {"type_url": (1, "string"), "value": (2, "bytes")},
    # google/rpc/error_details.proto; a map travels as repeated entries.
    "ErrorInfo": {"reason": (1, "string"), "domain": (2, "string"), "metadata": (3, "repeated Entry")},
    "Entry": {"key": (1, "string"), "value": (2, "string")},
    "RetryInfo": {"retry_delay": (1, "Duration")},
    "Duration": {"seconds": (1, "int64"), "nanos": (2, "int32")},
    # grpc/health/v1/health.proto; an enum travels as an int32.
    "HealthCheckRequest": {"service": (1, "string")},
    "HealthCheckResponse": {"status": (1, "int32")},
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="turnout/client/wire.proto", package=_PACKAGE, syntax="proto3")
    proto = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        entry = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            *repeated, kind = kind.split()
            field = entry.field.add(name=name, number=number)
            field.label = proto.LABEL_REPEATED if repeated else proto.LABEL_OPTIONAL
            if kind in _MESSAGES:
                field.type, field.type_name = proto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = proto.Type.Value(f"TYPE_{kind.upper()}")
    return file


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


Status = _message("Status")
ErrorInfo = _message("ErrorInfo")
RetryInfo = _message("RetryInfo")
HealthCheckRequest = _message("HealthCheckRequest")
HealthCheckResponse = _message("HealthCheckResponse")

HEALTH_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
"""`grpc.health.v1.HealthCheckResponse.ServingStatus`."""
