"""A gateway without sockets and without ONNX Runtime, and a neighbour who asks it: what targets send messages to."""

from __future__ import annotations

import asyncio
import functools
import struct
import tempfile
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from tests.gateway.world import World
from turnout.v1 import outcome_service_pb2
from turnout_server.config import JournalConfig, OutcomesConfig
from turnout_server.gateway.spans import Spans
from turnout_server.journal.boot import Boot
from turnout_server.outcomes.intake import Intake
from turnout_server.outcomes.outcome import Outcome, Result
from turnout_server.rpc.door import Door, methods_of
from turnout_server.rpc.elements import Admit, Count, Trace
from turnout_server.rpc.open_inference import shared_memory
from turnout_server.rpc.open_inference.servicer import OpenInferenceServicer
from turnout_server.rpc.stubs import open_inference_pb2 as oip
from turnout_server.rpc.turnout_v1.outcomes import OutcomeService
from turnout_server.transport.gate import Gate
from turnout_server.transport.method import CallFailed, Method

T = TypeVar("T")

PATIENCE_S = 60.0
"""A call that takes longer hangs."""
NOW_S = 1_795_000_000.0
"""What time it is, in seconds since the epoch."""
MODEL, NEIGHBOURS, ROUTE = "price", "neighbour-9f3c", "cost"
"""A model, one that nobody else asks, and a route of the first."""
OBJECT, OBJECT_BYTES = "region", 4096
"""Shared memory that there is."""
_ROUTES = f"""
routes:
  {ROUTE}:
    task: tensors
    salt: s
    targets:
      - {{name: old, model: {MODEL}, version: 1, weight: 1}}
      - {{name: new, model: {MODEL}, version: 2, weight: 1}}
    mirrors: [{{model: {NEIGHBOURS}, version: 1, fraction: 1}}]
"""
_DETAILS = "grpc-status-details-bin"


@dataclass
class _Call:
    metadata: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    address: str = "192.0.2.1:1"
    principal: str = ""


class Answered(NamedTuple):
    """How a call ended."""

    code: grpc.StatusCode
    reason: str
    """Of its error; empty where it has none."""
    text: str
    """The same for people."""
    messages: Sequence[bytes]


class Gateway:
    """Everything from the door to the model, which multiplies by ten. Loads and runs happen at once."""

    def __init__(self, folder: Path) -> None:
        """Make one whose store and shared memory are in *folder*, from within its event loop."""
        self._folder = folder
        (folder / OBJECT).write_bytes(bytes(OBJECT_BYTES))
        self.world = World(folder / "store", latest=2)
        for model in (MODEL, MODEL, NEIGHBOURS):
            self.world.publish(model)
        self.world.routes(_ROUTES)
        self.intake = Intake(
            JournalConfig(path=str(folder / "journal")), OutcomesConfig(), Boot("fuzz", "0" * 16), wall=lambda: NOW_S
        )
        world = self.world
        self._gate = Gate(16)
        door = Door(self._gate, (Trace(Spans()), Count(world.instruments), Admit(self._gate)))
        tensors = OpenInferenceServicer(world.data_plane, world.catalog, world.administration, allow_shared_memory=True)
        self.services: Mapping[str, ServiceDescriptor] = {
            service.name: service
            for module in (oip, outcome_service_pb2)
            for service in module.DESCRIPTOR.services_by_name.values()
        }
        self._methods: dict[str, Method] = {
            **methods_of(self.services["GRPCInferenceService"], tensors, door),
            **methods_of(self.services["OutcomeService"], OutcomeService(self._take), door),
        }

    def _take(self, outcomes: Sequence[Outcome]) -> Future[list[Result]]:
        answer = self.intake.take(outcomes)
        self.intake.turn(0.0)
        return answer

    async def ask(self, method: MethodDescriptor, messages: Sequence[bytes], metadata: Mapping[str, str]) -> Answered:
        """Call *method*, see that it ends as calls may, and that nothing is left of it."""
        try:
            with mock.patch.object(shared_memory, "MOUNT", str(self._folder)):  # the process may have others
                answers = await asyncio.wait_for(self._called(method, messages, metadata), PATIENCE_S)
            ended = Answered(grpc.StatusCode.OK, "", "", answers)
        except CallFailed as failed:
            ended = _refused(failed)
        answer = GetMessageClass(method.output_type)
        for one in ended.messages:
            answer.FromString(one)
        said = b"".join([ended.text.encode("utf-8", "replace"), *ended.messages])
        assert str(self._folder).encode() not in said, "it says where the store is"
        await self.world.look()
        assert not self.world.leases(), "it still holds a version"
        assert not self._gate.inside, "it still has its place"
        assert not self.world.instruments.in_flight, "it is still counted as in progress"
        routes = {labels[0] for labels in self.world.counted("turnout.requests")}
        assert routes <= {"", ROUTE}, "what a caller has made up is counted apart"
        self.world.ended.clear()
        return ended

    async def _called(
        self, method: MethodDescriptor, messages: Sequence[bytes], metadata: Mapping[str, str]
    ) -> list[bytes]:
        handler = self._methods[f"{method.containing_service.full_name}/{method.name}"]
        call = _Call(metadata)
        if handler.client_streaming:
            return [answer async for answer in handler.stream(_stream(messages), call)]
        return [await handler.unary(messages[0], call)]

    async def restore(self) -> None:
        """Undo what calls have changed, so that each input finds the same gateway."""
        methods = self.services["GRPCInferenceService"].methods_by_name
        if MODEL in self.world.names.suspended:
            request = oip.RepositoryModelLoadRequest(model_name=MODEL)
            await self.ask(methods["RepositoryModelLoad"], [request.SerializeToString()], {})
        await self.ask(methods["SystemSharedMemoryUnregister"], [b""], {})
        (self._folder / OBJECT).write_bytes(bytes(OBJECT_BYTES))

    async def ask_as_neighbour(self) -> None:
        """See that others are served as before."""
        request = oip.ModelInferRequest(model_name=NEIGHBOURS, raw_input_contents=[struct.pack("<f", 7.0)])
        request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
        request.outputs.add(name="y")
        method = self.services["GRPCInferenceService"].methods_by_name["ModelInfer"]
        ended = await self.ask(method, [request.SerializeToString()], {})
        (answer,) = map(oip.ModelInferResponse.FromString, ended.messages)
        assert answer.raw_output_contents == [struct.pack("<f", 70.0)], "a neighbour was answered wrongly"


async def _stream(messages: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
    for message in messages:
        yield message


def _refused(failed: CallFailed) -> Answered:
    """Return what a status says, which has to be one that was meant."""
    status = failed.status
    assert status.code is not grpc.StatusCode.INTERNAL, f"it failed: {status.message}"
    rich = status_pb2.Status.FromString(dict(status.trailers)[_DETAILS])
    info = error_details_pb2.ErrorInfo()
    assert rich.details[0].Unpack(info), "an error without details"
    assert info.reason, "an error without a reason"
    return Answered(status.code, info.reason, status.message, [])


class _Loop:
    """A loop and its gateway, for as long as the process lives."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.loop = asyncio.new_event_loop()
        self.gateway = self.run(self._made())

    async def _made(self) -> Gateway:
        gateway = Gateway(Path(self.folder.name))
        await gateway.world.start()
        return gateway

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)


@functools.cache
def _loop() -> _Loop:
    return _Loop()


def gateway() -> Gateway:
    """Return the process's gateway."""
    return _loop().gateway


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do *work* in its event loop."""
    return _loop().run(work)
