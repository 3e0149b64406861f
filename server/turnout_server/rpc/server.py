"""Builds and owns the gRPC server: services, health, reflection, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from turnout_server.config import LimitsConfig, parse_address
from turnout_server.errors import ConfigurationError
from turnout_server.gateway.instruments import Instruments
from turnout_server.gateway.spans import Spans
from turnout_server.rpc.gate import Gate
from turnout_server.rpc.handlers import Surroundings, handlers_of
from turnout_server.rpc.health import Health

_log = structlog.get_logger("turnout.rpc")
_LAST_WORDS_S = 0.2
"""What answers and refusals that are on their way get once the server stops, in seconds."""
_IN_TRANSIT_S = 0.05
"""What calls that are on their way get to arrive, and the server's goodbye to be sent, in seconds."""
_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
"""Its messages are those of v1alpha, field by field."""


class Listening(NamedTuple):
    """A server that takes calls."""

    address: str
    """HOST:PORT, with the port that was picked."""
    health: Health
    gate: Gate


Services = Mapping[ServiceDescriptor, object]
"""Servicers by their service's descriptor."""


@contextlib.asynccontextmanager
async def listening(
    address: str, services: Services, instruments: Instruments, spans: Spans, limits: LimitsConfig, grace_s: float
) -> AsyncIterator[Listening]:
    """Serve *services*, health and reflection on *address* until the context ends.

    At the end health turns NOT_SERVING, new calls are refused with UNAVAILABLE, calls in progress have *grace_s*
    seconds to finish, and what is left then is cancelled.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    gate = Gate(limits.concurrent_calls)
    health = Health(service.full_name for service in services)
    server = grpc.aio.server(options=_options(limits))
    everything = {**services, _descriptor(health_pb2, "Health"): health}
    surroundings = Surroundings(gate, instruments, spans)
    # Health answers while the server drains and while it is full; its watchers are not waited for, but are bounded.
    of_health = surroundings._replace(gate=Gate(limits.concurrent_calls))
    server.add_generic_rpc_handlers(
        tuple(
            handlers_of(service, servicer, of_health if servicer is health else surroundings)
            for service, servicer in everything.items()
        )
    )
    _reflect(server, tuple(service.full_name for service in everything), surroundings)
    host, _ = parse_address(address, "listen")
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigurationError(
            f"cannot listen on {address}: is the port in use, or the host not this machine's?"
        ) from error
    await server.start()
    try:
        yield Listening(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", health, gate)
    finally:
        health.set_serving(False)
        gate.close()
        _log.info("draining", calls=gate.inside, grace_s=grace_s)
        try:
            if not await gate.empty(grace_s):
                _log.warning("the grace period is over; cancelling calls", calls=gate.inside)
        finally:
            await _say_goodbye(server, gate)
            # Handlers hear of their cancellation a little later, and hold models until then.
            await gate.empty(_LAST_WORDS_S)


async def _say_goodbye(server: grpc.aio.Server, gate: Gate) -> None:
    """Stop a drained server without cancelling the calls that come in at that moment, as gRPC does on its own.

    Clients that are refused ask again at once, and what is on its way when the server stops ends with CANCELLED, which
    nobody retries. So the last refusals are held back until the server has told every client to go elsewhere.
    """
    gate.errors_may_go.clear()
    await asyncio.sleep(_IN_TRANSIT_S)
    stopping = asyncio.ensure_future(server.stop(_LAST_WORDS_S))
    await asyncio.sleep(_IN_TRANSIT_S)
    gate.errors_may_go.set()
    await stopping


def _descriptor(module: Any, name: str) -> ServiceDescriptor:
    service: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return service


def _reflect(server: grpc.aio.Server, names: tuple[str, ...], surroundings: Surroundings) -> None:
    service = _descriptor(reflection_pb2, "ServerReflection")
    servicer = ReflectionServicer((*names, service.full_name))
    server.add_generic_rpc_handlers(
        tuple(handlers_of(service, servicer, surroundings, name) for name in (service.full_name, _REFLECTION_V1))
    )


def _options(limits: LimitsConfig) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # Two servers on one port would split the traffic between them unnoticed.
        ("grpc.so_reuseport", 0),
        # Clients may keep idle connections alive without being told to calm down.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]
