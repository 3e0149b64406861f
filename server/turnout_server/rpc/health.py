"""grpc.health.v1: whether this process, and each of its services, should get traffic.

grpcio-health-checking's own asyncio servicer forgets its other watchers when one of them leaves; its messages are used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from turnout_server.rpc.standard import HealthListResponse
from turnout_server.transport.call import Call
from turnout_server.vocabulary.errors import Kind, TurnoutError

_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


CHECK = "grpc.health.v1.Health/Check"
"""Whoever asks this may end the process if it is not answered: it always has a place, and goes before all others."""
WATCH = "grpc.health.v1.Health/Watch"


class ServiceUnknownError(TurnoutError):
    """Health was asked of a service that this server does not have."""

    reason = "SERVICE_UNKNOWN"
    kind = Kind.NOT_FOUND


class Health:
    """The health of a set of services; the empty name is the whole server's."""

    def __init__(self, services: Iterable[str]) -> None:
        """Begin with everything NOT_SERVING."""
        self._statuses: dict[str, int] = dict.fromkeys(("", *services), health_pb2.HealthCheckResponse.NOT_SERVING)
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Say of all services that they serve, or that they do not; watchers hear of it."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        self._statuses = dict.fromkeys(self._statuses, status)
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, call: Call) -> health_pb2.HealthCheckResponse:
        """Return a service's status.

        Raises:
            ServiceUnknownError: there is no such service.
        """
        status = self._statuses.get(request.service)
        if status is None:
            raise ServiceUnknownError(f"no service named {request.service[:128]!r}")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(self, request: Message, call: Call) -> Message:
        """Return the status of the server, which has no name, and of every service."""
        response: Any = HealthListResponse()
        for service, status in self._statuses.items():
            response.statuses[service].status = status
        return response  # type: ignore[no-any-return]

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield a service's status now, and whenever it changes."""
        last: int | None = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, _UNKNOWN)
            if status != last:
                last = status
                yield health_pb2.HealthCheckResponse(status=status)
            await changed.wait()
