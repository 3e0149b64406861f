"""Our description of the protocol agrees with the one that Triton's client carries."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor

DUMP = """
import json
from tests.rpc.open_inference.test_open_inference_proto import facts_of
from tritonclient.grpc import model_config_pb2, service_pb2
print(json.dumps(facts_of(service_pb2.DESCRIPTOR) | facts_of(model_config_pb2.DESCRIPTOR)))
"""


def facts_of(file: FileDescriptor) -> dict[str, object]:
    """Return every number and type in *file*, by full name."""
    facts: dict[str, object] = {}
    for message in file.message_types_by_name.values():
        _add_message(message, facts)
    for enum in file.enum_types_by_name.values():
        _add_enum(enum, facts)
    for service in file.services_by_name.values():
        for method in service.methods:
            types = [method.input_type.full_name, method.output_type.full_name]
            facts[method.full_name] = [*types, method.client_streaming, method.server_streaming]
    return facts


def _add_message(message: Descriptor, facts: dict[str, object]) -> None:
    facts[message.full_name] = "message"
    for field in message.fields:
        named = field.message_type or field.enum_type
        oneof = field.containing_oneof.name if field.containing_oneof else None
        type_name = named.full_name if named else None
        facts[field.full_name] = [field.number, field.type, field.is_repeated, type_name, oneof]
    for nested in message.nested_types:
        _add_message(nested, facts)
    for enum in message.enum_types:
        _add_enum(enum, facts)


def _add_enum(enum: EnumDescriptor, facts: dict[str, object]) -> None:
    facts[enum.full_name] = {value.name: value.number for value in enum.values}


@pytest.mark.skipif(importlib.util.find_spec("tritonclient") is None, reason="tritonclient is not installed")
def test_every_name_number_and_type_is_the_protocols() -> None:
    """The client's side is read in a process of its own: two packages with `inference.*` cannot share one."""
    from turnout_server.rpc.stubs import open_inference_pb2

    search_path = json.dumps([path for path in sys.path if path])
    script = f"import sys; sys.path[:] = {search_path}\n{DUMP}"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    theirs = json.loads(run.stdout)
    ours = json.loads(json.dumps(facts_of(open_inference_pb2.DESCRIPTOR)))
    assert {name: fact for name, fact in ours.items() if theirs.get(name) != fact} == {}
    methods = {name for name in theirs if name.startswith("inference.GRPCInferenceService.")}
    assert methods <= set(ours)
