"""A blocking connection to a gateway: what `Client` sends its calls over, and `AsyncClient` its last words."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc

from turnout import calls, errors
from turnout.calls import Answer, Call
from turnout.settings import Metadata, Settings


class Connection:
    """Calls over one channel. Any thread."""

    def __init__(self, settings: Settings) -> None:
        """Make one as *settings* say; it connects on its first call."""
        self._settings = settings
        options = settings.channel_arguments()
        if settings.credentials is None:
            self._channel = grpc.insecure_channel(settings.target, options, settings.compression)
        else:
            self._channel = grpc.secure_channel(settings.target, settings.credentials, options, settings.compression)
        self._methods: dict[str, Callable[..., Any]] = {
            method.path: self._channel.unary_unary(method.path, response_deserializer=method.response.FromString)
            for method in calls.METHODS
        }

    def send(self, call: Call[Answer], timeout: float | None, metadata: Metadata | None) -> Answer:
        """Send *call* and return its answer; a *timeout* of None is the settings'.

        Raises:
            TurnoutError: it failed.
            TypeError, ValueError: it cannot be sent.
        """
        out = self._settings.outgoing(call, timeout, metadata)
        try:
            response = self._methods[call.method.path](out.payload, timeout=out.timeout, metadata=out.metadata)
        except grpc.RpcError as error:
            raise errors.from_rpc(error, self._settings.target, call.method.path, out.timeout) from error
        return call.read(response)

    def close(self) -> None:
        """Let go of it; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
