"""Builds and owns the gRPC server: services, health, reflection, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import structlog
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import error_details_pb2

from turnout_server.config import ErrorForm, LimitsConfig, format_address, parse_address
from turnout_server.gateway.native import NativePlane
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.instruments import Instruments
from turnout_server.instruments.transport import TransportMetrics
from turnout_server.rpc.chain import Element
from turnout_server.rpc.door import Door, methods_of
from turnout_server.rpc.elements import Admit, Count, Trace
from turnout_server.rpc.health import CHECK, WATCH, Health
from turnout_server.rpc.reflection import Reflection
from turnout_server.rpc.standard import HEALTH, REFLECTION, REFLECTION_ALPHA
from turnout_server.transport.engine import EngineTransport
from turnout_server.transport.gate import Gate
from turnout_server.transport.grpcio import GrpcioTransport
from turnout_server.transport.method import Methods

_log = structlog.get_logger("turnout.rpc")
_LAST_WORDS_S = 0.2
"""What handlers get to end once they were cancelled, in seconds."""
_LOOK_EVERY_S = 0.005
_REFLECTIONS = (REFLECTION, REFLECTION_ALPHA)


class Listening(NamedTuple):
    """A server that takes calls."""

    address: str
    """HOST:PORT, with the port that was picked."""
    health: Health
    gate: Gate


Services = Mapping[ServiceDescriptor, object]
"""Servicers by their service's descriptor."""


class Transport(Protocol):
    """What carries calls to methods."""

    async def start(self, host: str, port: int) -> int:
        """Take calls on *host* and *port*, which may be 0; return the port.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """

    def counts(self) -> Mapping[str, int]:
        """Return what is known of connections and refusals, on any thread; see `TransportMetrics`."""

    async def say_goodbye(self) -> None:
        """Send every client elsewhere, cancel what is left, and end."""


@contextlib.asynccontextmanager
async def listening(
    address: str,
    services: Services,
    instruments: Instruments,
    spans: Spans,
    limits: LimitsConfig,
    grace_s: float,
    data_plane: Literal["engine", "python"] = "python",
    checks: Sequence[Element] = (),
    native: NativePlane | None = None,
    errors: ErrorForm = "trailers_only",
) -> AsyncIterator[Listening]:
    """Serve *services*, health and reflection on *address* until the context ends.

    At the end health turns NOT_SERVING, new calls are refused with UNAVAILABLE, calls in progress have *grace_s*
    seconds to finish, and what is left then is cancelled.

    The engine carries calls, or grpcio. Every method has one chain around it, the same on both: a call is traced,
    counted, let in by the gate, and then looked at by the *checks* in their order: who it is, and what they may do.
    What is refused shows too, so counting comes first.

    With a *native* plane, which only the engine can have, most inferences never come to a handler. It has no checks, so
    where there are any it is left out; and so it is where spans are wanted that it cannot make.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    inside: Callable[[], int] = int if native is None else lambda: native.plane.inside
    # A stream is in the gate, and its handler gone while the engine answers the rest of it.
    elsewhere: Callable[[], int] = int if native is None else lambda: native.plane.inside + native.plane.messages
    gate = Gate(limits.concurrent_calls, None if native is None else native.plane, limits.most_of_one)
    health = Health(service.full_name for service in services)
    everything = {**services, HEALTH: health}
    trace, count = Trace(spans), Count(instruments)
    door = Door(gate, (trace, count, Admit(gate), *checks))
    # Health answers while the server drains and while it is full, of calls and of those who watch. Watchers are not
    # waited for, and are bounded apart.
    watches = min(limits.watches, limits.concurrent_calls)
    health_gate, watch_gate = Gate(limits.concurrent_calls), Gate(watches)
    health_door = Door(health_gate, (trace, count, Admit(health_gate), *checks))
    watch_door = Door(watch_gate, (trace, count, Admit(watch_gate), *checks))
    reflection = Reflection((*everything, *_REFLECTIONS), (error_details_pb2.DESCRIPTOR,))
    everything |= dict.fromkeys(_REFLECTIONS, reflection)
    methods: Methods = {}
    for service, servicer in everything.items():
        methods |= methods_of(service, servicer, door)
    methods |= methods_of(HEALTH, health, health_door)
    methods[WATCH] = methods_of(HEALTH, health, watch_door)[WATCH]
    server: Transport
    if data_plane == "engine":
        answers = native is not None and not checks and (native.plane.traces or not spans.enabled)
        plane = native.plane.inner if native is not None and answers else None
        server = EngineTransport(
            methods, limits, plane, errors=errors, span=spans.passed_on, urgent={CHECK}, quotas={WATCH: watches}
        )
    else:
        server = GrpcioTransport(methods, limits, errors=errors)
    instruments.include(TransportMetrics(server.counts))
    host, port = parse_address(address, "listen")
    port = await server.start(host, port)
    try:
        yield Listening(format_address(host, port), health, gate)
    finally:
        health.end()
        gate.close()
        if native is not None:
            native.plane.close()
        _log.info("draining", calls=gate.inside + inside(), grace_s=grace_s)
        try:
            if not await _drained(gate, elsewhere, grace_s):
                _log.warning("the grace period is over; cancelling calls", calls=gate.inside + inside())
        finally:
            await server.say_goodbye()
            # Handlers hear of their cancellation a little later, and hold models until then.
            await gate.empty(_LAST_WORDS_S)


async def _drained(gate: Gate, elsewhere: Callable[[], int], timeout_s: float) -> bool:
    """Wait until no call is in progress, by whichever way it came in; return False if *timeout_s* passed first."""
    ends = time.monotonic() + timeout_s
    if not await gate.empty(timeout_s):
        return False
    while elsewhere():
        if time.monotonic() >= ends:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True
