"""A connection by grpc.aio."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import grpc

from turnout_server.load.connection import CallError, Done
from turnout_server.load.plan import Plan

CONNECT_S = 10.0
"""How long connecting may take, in seconds."""

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.use_local_subchannel_pool", 1),  # or channels to one target would share one connection
    ("grpc.enable_retries", 0),  # a call is one call
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class GrpcConnection:
    """One HTTP/2 connection, kept by gRPC's core; bytes go in and out as they are.

    grpc.aio makes a task a call of its own, whatever one does. Around it, a task of ours is kept as long as each answer
    leads to the next request, as it does in a closed loop.
    """

    def __init__(self, plan: Plan) -> None:
        self._target = plan.target
        self._channel = grpc.aio.insecure_channel(plan.target, _OPTIONS)
        self._send: Any = self._channel.unary_unary(plan.method)
        self._timeout_s = plan.timeout_s
        self._metadata = plan.metadata or None
        self._tasks: set[asyncio.Task[None]] = set()
        self._answering = False
        self._follow_up: tuple[bytes, Done, float] | None = None

    async def open(self) -> None:
        """Connect.

        Raises:
            CallError: the target refuses, its name does not resolve, or it says nothing for `CONNECT_S`.
        """
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._connected()
        except TimeoutError:
            raise CallError("UNAVAILABLE", f"cannot connect to {self._target} within {CONNECT_S:g} s") from None

    async def _connected(self) -> None:
        state = self._channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                raise CallError("UNAVAILABLE", f"cannot reach {self._target}; is `turnout serve` running?")
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state(try_to_connect=True)

    def call(self, body: bytes, done: Done) -> None:
        """Send one request; see `Connection.call`."""
        request = (body, done, perf_counter())
        if self._answering and self._follow_up is None:
            self._follow_up = request
            return
        task = asyncio.get_running_loop().create_task(self._caller(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _caller(self, request: tuple[bytes, Done, float] | None) -> None:
        while request is not None:
            body, done, started = request
            code, payload = await self._answer(body)
            ended = perf_counter()
            self._answering = True
            try:
                done(code, payload, started, ended)
            finally:
                self._answering = False
                request, self._follow_up = self._follow_up, None

    async def _answer(self, body: bytes) -> tuple[str, bytes | None]:
        try:
            return "OK", await self._send(body, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            return error.code().name, (error.details() or "").encode()

    async def close(self) -> None:
        """Drop what is on its way, and hang up."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._channel.close()
