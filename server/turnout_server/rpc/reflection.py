"""grpc.reflection: what services there are, and the files that describe them, for grpcurl and its like.

grpcio-reflection's own servicer finds neither methods nor values of enums, though the protocol has both. Here every
symbol of every file is looked up beforehand, and only what the listed services need is told of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as pb

from turnout_server.transport.call import Call

_NOT_FOUND = pb.ErrorResponse(error_code=grpc.StatusCode.NOT_FOUND.value[0], error_message="not found")
_INVALID = pb.ErrorResponse(
    error_code=grpc.StatusCode.INVALID_ARGUMENT.value[0], error_message="the request asks for nothing that is known"
)


class Reflection:
    """Answers both versions of the protocol: their messages are the same."""

    def __init__(self, services: Iterable[ServiceDescriptor], others: Iterable[FileDescriptor] = ()) -> None:
        """Look everything up.

        Args:
            services: those that are listed.
            others: files that clients need besides: what is in details of errors is in no service's files.
        """
        listed = list(services)
        self._services = sorted(service.full_name for service in listed)
        self._files: dict[str, FileDescriptor] = {}
        for file in (*(service.file for service in listed), *others):
            _collect(file, self._files)
        self._symbols = {name: file for file in self._files.values() for name in _symbols(file)}
        self._extensions: dict[str, dict[int, FileDescriptor]] = {}
        for file in self._files.values():
            for extension in _extensions(file):
                if extension.containing_type is not None:
                    extended = self._extensions.setdefault(extension.containing_type.full_name, {})
                    extended[extension.number] = file

    async def ServerReflectionInfo(
        self, requests: AsyncIterator[pb.ServerReflectionRequest], call: Call
    ) -> AsyncIterator[pb.ServerReflectionResponse]:
        """Answer each of a client's questions."""
        async for request in requests:
            yield self._answer(request)

    def _answer(self, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        response = pb.ServerReflectionResponse(valid_host=request.host)
        # The request may be of the other version, and of another class: the bytes are the same.
        response.original_request.ParseFromString(request.SerializeToString())
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                self._describe(self._files.get(request.file_by_filename), response)
            case "file_containing_symbol":
                self._describe(self._symbols.get(request.file_containing_symbol), response)
            case "file_containing_extension":
                asked = request.file_containing_extension
                known = self._extensions.get(asked.containing_type, {})
                self._describe(known.get(asked.extension_number), response)
            case "all_extension_numbers_of_type":
                self._number(request.all_extension_numbers_of_type, response)
            case _:
                response.error_response.CopyFrom(_INVALID)
        return response

    def _describe(self, file: FileDescriptor | None, response: pb.ServerReflectionResponse) -> None:
        """Put *file* into *response*, with all that it depends on; it comes first."""
        if file is None:
            response.error_response.CopyFrom(_NOT_FOUND)
            return
        needed: dict[str, FileDescriptor] = {}
        _collect(file, needed)
        response.file_descriptor_response.file_descriptor_proto.extend(map(_written, needed.values()))

    def _number(self, name: str, response: pb.ServerReflectionResponse) -> None:
        """Put the numbers of a message's extensions into *response*."""
        file = self._symbols.get(name)
        if file is None or not _is_message(file, name):
            response.error_response.CopyFrom(_NOT_FOUND)
            return
        answer = response.all_extension_numbers_response
        answer.base_type_name = name
        answer.extension_number.extend(sorted(self._extensions.get(name, {})))


def _collect(file: FileDescriptor, into: dict[str, FileDescriptor]) -> None:
    if file.name not in into:
        into[file.name] = file
        for each in file.dependencies:
            _collect(each, into)


def _written(file: FileDescriptor) -> bytes:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return proto.SerializeToString()


def _symbols(file: FileDescriptor) -> Iterator[str]:
    for message in file.message_types_by_name.values():
        yield from _symbols_of(message)
    for enum in file.enum_types_by_name.values():
        yield from _symbols_of_enum(enum)
    for extension in file.extensions_by_name.values():
        yield extension.full_name
    for service in file.services_by_name.values():
        yield service.full_name
        yield from (method.full_name for method in service.methods)


def _symbols_of(message: Descriptor) -> Iterator[str]:
    yield message.full_name
    yield from (each.full_name for each in (*message.fields, *message.extensions))
    yield from (oneof.full_name for oneof in message.oneofs)
    for nested in message.nested_types:
        yield from _symbols_of(nested)
    for enum in message.enum_types:
        yield from _symbols_of_enum(enum)


def _symbols_of_enum(enum: EnumDescriptor) -> Iterator[str]:
    """Yield an enum's name and its values': those stand beside it, by the language, and many look for them in it."""
    yield enum.full_name
    beside = enum.full_name.rpartition(".")[0]
    for value in enum.values:
        yield f"{beside}.{value.name}" if beside else value.name
        yield f"{enum.full_name}.{value.name}"


def _extensions(file: FileDescriptor) -> Iterator[FieldDescriptor]:
    yield from file.extensions_by_name.values()
    for message in _messages(file.message_types_by_name):
        yield from message.extensions


def _messages(named: Mapping[str, Any]) -> Iterator[Descriptor]:
    for message in named.values():
        yield message
        yield from _messages(message.nested_types_by_name)


def _is_message(file: FileDescriptor, name: str) -> bool:
    return any(message.full_name == name for message in _messages(file.message_types_by_name))
