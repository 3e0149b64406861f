"""grpc.health.v1: whether this process, each of its services and each of its routes should get traffic, and why not.

grpcio-health-checking's own asyncio servicer forgets its other watchers when one of them leaves; its messages are used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from turnout_server.gateway.readiness import STARTING, STOPPING, Standing
from turnout_server.rpc.standard import HealthCheckResponse, HealthListResponse
from turnout_server.transport.call import Call
from turnout_server.vocabulary.errors import Kind, TurnoutError

CHECK = "grpc.health.v1.Health/Check"
"""Whoever asks this may end the process if it is not answered: it always has a place, and goes before all others."""
WATCH = "grpc.health.v1.Health/Watch"
ROUTE = "route/"
"""What stands before a route's name."""


class ServiceUnknownError(TurnoutError):
    """Health was asked of a service that this server does not have."""

    reason = "SERVICE_UNKNOWN"
    kind = Kind.NOT_FOUND


class _Status(NamedTuple):
    """What is said of one service or route."""

    code: int
    why: str = ""


_SERVING = _Status(health_pb2.HealthCheckResponse.SERVING)
_UNKNOWN = _Status(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)


class Health:
    """The health of the whole server, which has the empty name, of its services, and of `route/NAME`."""

    def __init__(self, services: Iterable[str]) -> None:
        """Begin with everything NOT_SERVING."""
        self._services = ("", *services)
        self._statuses: dict[str, _Status] = {}
        self._other_routes = _UNKNOWN
        self._is_over = False
        self._changed = asyncio.Event()
        self.show(Standing(STARTING))

    def show(self, standing: Standing) -> None:
        """Say how things stand now; watchers hear of it."""
        if self._is_over:
            return
        self._statuses = dict.fromkeys(self._services, _status(standing.server))
        self._statuses |= {f"{ROUTE}{name}": _status(problem) for name, problem in standing.routes.items()}
        self._other_routes = _status(standing.names) if standing.names else _UNKNOWN
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self) -> None:
        """Say of everything, for good, that it does not serve."""
        routes = [name.removeprefix(ROUTE) for name in self._statuses if name.startswith(ROUTE)]
        self.show(Standing(STOPPING, dict.fromkeys(routes, STOPPING)))
        self._is_over = True

    def _of(self, service: str) -> _Status:
        return self._statuses.get(service) or (self._other_routes if service.startswith(ROUTE) else _UNKNOWN)

    async def Check(self, request: health_pb2.HealthCheckRequest, call: Call) -> Message:
        """Return the status of a service or a route.

        Raises:
            ServiceUnknownError: there is no such service or route.
        """
        status = self._of(request.service)
        if status is _UNKNOWN:
            raise ServiceUnknownError(f"no service named {request.service[:128]!r}")
        return _answer(status)

    async def List(self, request: Message, call: Call) -> Message:
        """Return the status of the server, which has no name, of every service, and of every route."""
        response: Any = HealthListResponse()
        for service, status in self._statuses.items():
            response.statuses[service].status, response.statuses[service].why = status
        return response  # type: ignore[no-any-return]

    async def Watch(self, request: health_pb2.HealthCheckRequest, call: Call) -> AsyncIterator[Message]:
        """Yield the status of a service or a route now, and whenever it changes."""
        last: int | None = None
        while True:
            changed = self._changed
            status = self._of(request.service)
            if status.code != last:
                last = status.code
                yield _answer(status)
            await changed.wait()


def _status(problem: str) -> _Status:
    return _Status(health_pb2.HealthCheckResponse.NOT_SERVING, problem) if problem else _SERVING


def _answer(status: _Status) -> Message:
    answer: Any = HealthCheckResponse()
    answer.status, answer.why = status
    return answer  # type: ignore[no-any-return]
