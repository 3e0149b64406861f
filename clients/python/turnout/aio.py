"""The asyncio client: `Client`, awaited."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from turnout import answers, calls, describe, errors, inputs, route_table
from turnout.calls import Answer, Call, Ids
from turnout.connection import Connection
from turnout.features import Columns, Frame, Row
from turnout.inference import Inference
from turnout.inputs import Data
from turnout.outbox import Outbox
from turnout.recording import AsyncRecorder, AsyncRecording
from turnout.settings import MAX_MESSAGE_BYTES, Metadata, Settings, pairs


class AsyncClient(AsyncRecording):
    """A connection to a Turnout gateway, for asyncio; arguments, methods and errors are those of `Client`.

    Make one for each event loop and share it among its tasks. It can be made anywhere, as it connects on its first
    call. Cancelling a task cancels its call. A process that forks should make its clients after the fork.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float = 10.0,
        unit: str | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        compression: grpc.Compression | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        retries: int = 3,
        channel_options: Sequence[tuple[str, Any]] = (),
        outcome_buffer: int = 10_000,
        outcome_must_fit: bool = False,
    ) -> None:
        self._settings = Settings(
            target=target,
            timeout=timeout,
            unit="" if unit is None else unit,
            metadata=pairs(metadata),
            credentials=credentials,
            compression=compression,
            max_message_bytes=max_message_bytes,
            retries=retries,
            channel_options=tuple(channel_options),
        )
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Callable[..., Any]] = {}
        self._known: dict[tuple[str, int | str | None], tuple[answers.Tensor, ...]] = {}
        """The inputs of routes and models that were sent bare arrays."""
        self._box = Outbox(outcome_buffer, outcome_must_fit)
        self._recorder = AsyncRecorder(
            self._box, lambda call, timeout: self._send(call, timeout, None), self._send_last
        )
        self._closed = False

    def __repr__(self) -> str:
        return self._settings.described("AsyncClient")

    async def close(self) -> None:
        """Send what `outcome` was told, for five seconds at most, and close; calls in flight are cancelled."""
        await self._recorder.close()
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def recommend(
        self,
        route: str,
        history: Ids,
        *,
        unit: str | None = None,
        exclude: Ids = (),
        k: int = 10,
        version: int | str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> answers.Recommendations:
        """Return the best items for one user's history."""
        unit = self._settings.unit_or(unit)
        call = calls.recommend(route, history, unit=unit, version=version, exclude=exclude, k=k)
        return await self._send(call, timeout, metadata)

    async def rank(
        self,
        route: str,
        candidates: Mapping[str, Row] | Frame | None = None,
        *,
        ids: Ids | str | None = None,
        columns: Columns | Frame | None = None,
        context: Row | None = None,
        unit: str | None = None,
        k: int | None = None,
        version: int | str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> answers.Ranking:
        """Return the candidates, best first."""
        unit = self._settings.unit_or(unit)
        call = calls.rank(route, candidates, ids=ids, columns=columns, context=context, unit=unit, version=version, k=k)
        return await self._send(call, timeout, metadata)

    async def predict_price(
        self,
        route: str,
        features: Row | Frame,
        *,
        unit: str | None = None,
        version: int | str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> answers.Price:
        """Return the price of one article, with an interval."""
        call = calls.predict_price(route, features, unit=self._settings.unit_or(unit), version=version)
        return await self._send(call, timeout, metadata)

    async def predict_prices(
        self,
        route: str,
        rows: Sequence[Row] | Frame | None = None,
        *,
        columns: Columns | Frame | None = None,
        unit: str | None = None,
        version: int | str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> answers.Prices:
        """Return the prices of several articles, in their order."""
        unit = self._settings.unit_or(unit)
        call = calls.predict_prices(route, rows, columns=columns, unit=unit, version=version)
        return await self._send(call, timeout, metadata)

    async def infer(
        self,
        name: str,
        data: Data = None,
        *,
        tensors: Mapping[str, Any] | None = None,
        unit: str | None = None,
        version: int | str | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Inference:
        """Ask any route or model, whatever its task, and return its outputs by name."""
        unit = self._settings.unit_or(unit)
        ask = functools.partial(calls.infer, name, unit=unit, version=version, outputs=outputs)
        if not inputs.is_bare(data):
            return await self._send(ask(data, tensors=tensors), timeout, metadata)
        is_new = (name, version) not in self._known
        known = await self._inputs(name, version, timeout, metadata)
        try:
            named, whole = inputs.named(data, known)
            return await self._send(ask(named, tensors={**whole, **(tensors or {})}), timeout, metadata)
        except (errors.TurnoutError, TypeError, ValueError) as error:
            self._known.pop((name, version), None)  # the signature may be another one by now
            if is_new or (isinstance(error, errors.TurnoutError) and not isinstance(error, errors.InvalidRequestError)):
                raise
            now = await self._inputs(name, version, timeout, metadata)
            if now == known:
                raise
        named, whole = inputs.named(data, now)
        return await self._send(ask(named, tensors={**whole, **(tensors or {})}), timeout, metadata)

    async def describe(
        self,
        name: str,
        *,
        version: int | str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> answers.Version:
        """Return the version that answers for a route or model, with its inputs and outputs.

        Of a route it is that of its heaviest target; of a model `champion`, else the newest. It takes up to two calls.
        """
        steps = describe.steps(name, version)
        call = next(steps)
        while True:
            try:
                answer: Any = await self._send(call, timeout, metadata)
            except errors.NotFoundError as error:
                call = steps.throw(error)
                continue
            try:
                call = steps.send(answer)
            except StopIteration as end:
                found: answers.Version = end.value
                return found

    async def models(
        self, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> tuple[answers.Model, ...]:
        """Return all models, ordered by name; the timeout is for each page of 1000."""
        pages = await self._pages(calls.models, timeout, metadata)
        return tuple(answers.read_model(model) for page in pages for model in page.models)

    async def model(
        self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> answers.Model:
        """Return one model."""
        return await self._send(calls.model(name), timeout, metadata)

    async def set_label(
        self,
        model: str,
        label: str,
        version: int,
        *,
        expected_version: int | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> answers.Model:
        """Point a label at a version, on a server that allows changes, and return the model as it is then."""
        return await self._send(calls.set_label(model, label, version, expected_version), timeout, metadata)

    async def remove_label(
        self,
        model: str,
        label: str,
        *,
        expected_version: int | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> answers.Model:
        """Remove a label, on a server that allows changes, and return the model as it is then."""
        return await self._send(calls.set_label(model, label, None, expected_version), timeout, metadata)

    async def routes(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> route_table.RouteTable:
        """Return the route table that is being served; the timeout is for each page of 1000."""
        return route_table.read_route_table(await self._pages(calls.routes, timeout, metadata))

    async def route(
        self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> route_table.Route:
        """Return one route."""
        return await self._send(calls.route(name), timeout, metadata)

    async def assign(
        self,
        route: str,
        unit: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> route_table.Assignment:
        """Say which target a unit belongs to, and why, without running a model."""
        return await self._send(calls.assign(route, unit, headers), timeout, metadata)

    async def apply_routes(
        self,
        yaml: str,
        *,
        expected_digest: str = "",
        validate_only: bool = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> str:
        """Replace the whole route table, on a server that allows changes, and return the new one's SHA-256."""
        return await self._send(calls.apply_routes(yaml, expected_digest, validate_only), timeout, metadata)

    async def health(self, service: str = "", *, timeout: float | None = None, metadata: Metadata | None = None) -> str:
        """Return SERVING or NOT_SERVING, for the whole server or for one service by its full name."""
        return await self._send(calls.health(service), timeout, metadata)

    async def _inputs(
        self, name: str, version: int | str | None, timeout: float | None, metadata: Metadata | None
    ) -> tuple[answers.Tensor, ...]:
        """Return a model's inputs, which are asked for once, and again when what was sent does not fit."""
        if (name, version) not in self._known:
            found = await self.describe(name, version=version, timeout=timeout, metadata=metadata)
            self._known[name, version] = found.inputs
        return self._known[name, version]

    async def _send(self, call: Call[Answer], timeout: float | None, metadata: Metadata | None) -> Answer:
        if self._closed:
            raise ValueError("this client is closed")
        if self._channel is None:
            self._open()
        out = self._settings.outgoing(call, timeout, metadata)
        try:
            response = await self._methods[call.method.path](out.payload, timeout=out.timeout, metadata=out.metadata)
        except grpc.RpcError as error:
            raise errors.from_rpc(error, self._settings.target, call.method.path, out.timeout) from error
        return call.read(response)

    def _send_last(self, call: Call[Answer], timeout: float | None) -> Answer:
        """Send a call when the process ends: the channel belongs to an event loop, and that is gone."""
        with Connection(self._settings) as connection:
            return connection.send(call, timeout, None)

    async def _pages(
        self, page: Callable[[str], Call[Answer]], timeout: float | None, metadata: Metadata | None
    ) -> list[Answer]:
        found: list[Any] = [await self._send(page(""), timeout, metadata)]
        while token := found[-1].next_page_token:
            found.append(await self._send(page(token), timeout, metadata))
        return found

    def _open(self) -> None:
        """Make the channel, now that the event loop that it will belong to is running."""
        settings = self._settings
        options = settings.channel_arguments()
        if settings.credentials is None:
            channel = grpc.aio.insecure_channel(settings.target, options, settings.compression)
        else:
            channel = grpc.aio.secure_channel(settings.target, settings.credentials, options, settings.compression)
        self._channel = channel
        self._methods = {
            method.path: channel.unary_unary(method.path, response_deserializer=method.response.FromString)
            for method in calls.METHODS
        }
