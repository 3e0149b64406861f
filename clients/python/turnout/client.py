"""The blocking client."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc

from turnout import answers, calls, describe, errors, inputs, route_table
from turnout.calls import Answer, Call, Ids
from turnout.connection import Connection
from turnout.features import Columns, Frame, Row
from turnout.inference import Inference
from turnout.inputs import Data
from turnout.outbox import Outbox
from turnout.recording import Recorder, Recording
from turnout.settings import MAX_MESSAGE_BYTES, Metadata, Settings, pairs


class Client(Recording):
    """A connection to a Turnout gateway.

    Make one and share it: it is safe to use from many threads, connects on its first call, reconnects by itself, and
    spreads calls over all addresses that the target's name resolves to. A process that forks should make its clients
    after the fork, as gRPC's own threads do not survive it. Close it, or use it as a context manager.

    Every call has a deadline, which spans its retries. Calls that change nothing are retried by gRPC when the server
    is unavailable or overloaded; `set_label`, `remove_label` and `apply_routes` are sent once.

    Every method raises a `TurnoutError` when the call fails, `TypeError` or `ValueError` when its arguments cannot be
    sent, and `ValueError` when the client has been closed. All take:

    - `timeout`: seconds for this call; None is the client's. `turnout.NO_DEADLINE` waits as long as it takes.
    - `metadata`: sent with this call, over and above the client's.

    Args:
        target: `host:port`, `http://host:port`, `dns:///host:port` or any other name that gRPC resolves.
        timeout: seconds that a call may take, for calls that don't say.
        unit: the user, session or device on whose behalf calls are made, for calls that don't say.
        metadata: sent with every call. The current OpenTelemetry span's `traceparent` is added by itself.
        credentials: for TLS, such as `grpc.ssl_channel_credentials()`; None is plain text.
        compression: of requests, such as `grpc.Compression.Gzip`; None is none.
        max_message_bytes: the largest request or response; 64 MiB. The server has its own for requests, by default 16.
        retries: how often a safe call is tried again, 0 to 4.
        channel_options: further gRPC channel options; they win over the client's own.
        outcome_buffer: how many outcomes may wait to be sent.
        outcome_must_fit: whether `outcome` raises where there is no room for one more, rather than drop it.
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
        self._connection = Connection(self._settings)
        self._known: dict[tuple[str, int | str | None], tuple[answers.Tensor, ...]] = {}
        """The inputs of routes and models that were sent bare arrays."""
        self._box = Outbox(outcome_buffer, outcome_must_fit)
        self._recorder = Recorder(self._box, lambda call, timeout: self._send(call, timeout, None))
        self._closed = False

    def __repr__(self) -> str:
        return self._settings.described("Client")

    def close(self) -> None:
        """Send what `outcome` was told, for five seconds at most, and close; calls in flight are cancelled."""
        self._recorder.close()
        self._closed = True
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def recommend(
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
        """Return the best items for one user's history.

        Args:
            route: the route, or the model, to ask.
            history: ids of the items that the user has had to do with, oldest first; unknown ones are ignored.
            unit: what the assignment sticks to; None is the client's, and an empty one draws a target at random.
            exclude: ids of items that must not be recommended.
            k: how many items to return, 1 to 1000; fewer come back where the model knows fewer.
            version: a version number or a label, which pins the call.
            timeout: see the class.
            metadata: see the class.
        """
        unit = self._settings.unit_or(unit)
        call = calls.recommend(route, history, unit=unit, version=version, exclude=exclude, k=k)
        return self._send(call, timeout, metadata)

    def rank(
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
        """Return the candidates, best first.

        Args:
            route: the route, or the model, to ask.
            candidates: each candidate's features, by its id; or a DataFrame of pandas, whose row labels are the ids.
            ids: the candidates' ids, with *columns* in place of *candidates*: faster when there are many. Where those
                are a DataFrame, the name of its column that has the ids will do.
            columns: by feature, a list or array with one value a candidate, or a single value for all. By a tuple of
                features, a matrix with a row a candidate: `columns={("price", "age"): matrix}`.
            context: features that hold for every candidate, such as the hour or the user's age.
            unit: what the assignment sticks to; None is the client's, and an empty one draws a target at random.
            k: how many candidates to return; None is all.
            version: a version number or a label, which pins the call.
            timeout: see the class.
            metadata: see the class.
        """
        unit = self._settings.unit_or(unit)
        call = calls.rank(route, candidates, ids=ids, columns=columns, context=context, unit=unit, version=version, k=k)
        return self._send(call, timeout, metadata)

    def predict_price(
        self,
        route: str,
        features: Row | Frame,
        *,
        unit: str | None = None,
        version: int | str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> answers.Price:
        """Return the price of one article, with an interval.

        Args:
            route: the route, or the model, to ask.
            features: the article's features, by name; or a DataFrame with one row.
            unit: what the assignment sticks to; None is the client's, and an empty one draws a target at random.
            version: a version number or a label, which pins the call.
            timeout: see the class.
            metadata: see the class.
        """
        call = calls.predict_price(route, features, unit=self._settings.unit_or(unit), version=version)
        return self._send(call, timeout, metadata)

    def predict_prices(
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
        """Return the prices of several articles, in their order.

        Args:
            route: the route, or the model, to ask.
            rows: the features of each article; or a DataFrame.
            columns: in place of *rows*: by feature, a list or array with one value an article, or a single value; by a
                tuple of features, a matrix with a row an article.
            unit: what the assignment sticks to; None is the client's, and an empty one draws a target at random.
            version: a version number or a label, which pins the call.
            timeout: see the class.
            metadata: see the class.
        """
        unit = self._settings.unit_or(unit)
        call = calls.predict_prices(route, rows, columns=columns, unit=unit, version=version)
        return self._send(call, timeout, metadata)

    def infer(
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
        """Ask any route or model, whatever its task, and return its outputs by name.

        Args:
            name: the route, or the model, to ask.
            data: a dict of features and inputs by name, a list of rows, or a DataFrame of pandas or Polars; for a
                model's only input, or for all of its features in order, an array or nested lists. See `docs/client.md`.
            tensors: whole inputs by name. In *data* what has one axis is a feature, with a value a row; here it is not.
            unit: what the assignment sticks to; None is the client's, and an empty one draws a target at random.
            version: a version number or a label, which pins the call.
            outputs: the names of the outputs to return; None is all.
            timeout: see the class.
            metadata: see the class.
        """
        unit = self._settings.unit_or(unit)
        ask = functools.partial(calls.infer, name, unit=unit, version=version, outputs=outputs)
        if not inputs.is_bare(data):
            return self._send(ask(data, tensors=tensors), timeout, metadata)
        is_new = (name, version) not in self._known
        known = self._inputs(name, version, timeout, metadata)
        try:
            named, whole = inputs.named(data, known)
            return self._send(ask(named, tensors={**whole, **(tensors or {})}), timeout, metadata)
        except (errors.TurnoutError, TypeError, ValueError) as error:
            self._known.pop((name, version), None)  # the signature may be another one by now
            if is_new or (isinstance(error, errors.TurnoutError) and not isinstance(error, errors.InvalidRequestError)):
                raise
            now = self._inputs(name, version, timeout, metadata)
            if now == known:
                raise
        named, whole = inputs.named(data, now)
        return self._send(ask(named, tensors={**whole, **(tensors or {})}), timeout, metadata)

    def describe(
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
                answer: Any = self._send(call, timeout, metadata)
            except errors.NotFoundError as error:
                call = steps.throw(error)
                continue
            try:
                call = steps.send(answer)
            except StopIteration as end:
                found: answers.Version = end.value
                return found

    def models(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> tuple[answers.Model, ...]:
        """Return all models, ordered by name; the timeout is for each page of 1000."""
        pages = self._pages(calls.models, timeout, metadata)
        return tuple(answers.read_model(model) for page in pages for model in page.models)

    def model(self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None) -> answers.Model:
        """Return one model."""
        return self._send(calls.model(name), timeout, metadata)

    def set_label(
        self,
        model: str,
        label: str,
        version: int,
        *,
        expected_version: int | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> answers.Model:
        """Point a label at a version, on a server that allows changes, and return the model as it is then.

        Args:
            model: the model's name.
            label: the label.
            version: the version that the label shall name.
            expected_version: the version that it must name at present, 0 for none; otherwise `ConflictError`.
            timeout: see the class.
            metadata: see the class.
        """
        return self._send(calls.set_label(model, label, version, expected_version), timeout, metadata)

    def remove_label(
        self,
        model: str,
        label: str,
        *,
        expected_version: int | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> answers.Model:
        """Remove a label, on a server that allows changes, and return the model as it is then."""
        return self._send(calls.set_label(model, label, None, expected_version), timeout, metadata)

    def routes(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> route_table.RouteTable:
        """Return the route table that is being served; the timeout is for each page of 1000."""
        return route_table.read_route_table(self._pages(calls.routes, timeout, metadata))

    def route(self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None) -> route_table.Route:
        """Return one route."""
        return self._send(calls.route(name), timeout, metadata)

    def assign(
        self,
        route: str,
        unit: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> route_table.Assignment:
        """Say which target a unit belongs to, and why, without running a model.

        Args:
            route: the route's name.
            unit: the unit; an empty one is drawn at random.
            headers: request metadata that overrides shall look at.
            timeout: see the class.
            metadata: see the class.
        """
        return self._send(calls.assign(route, unit, headers), timeout, metadata)

    def apply_routes(
        self,
        yaml: str,
        *,
        expected_digest: str = "",
        validate_only: bool = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> str:
        """Replace the whole route table, on a server that allows changes, and return the new one's SHA-256.

        Args:
            yaml: the table.
            expected_digest: the SHA-256 of the table that this one replaces; `ConflictError` when it is another one.
            validate_only: check it and change nothing.
            timeout: see the class.
            metadata: see the class.
        """
        return self._send(calls.apply_routes(yaml, expected_digest, validate_only), timeout, metadata)

    def health(self, service: str = "", *, timeout: float | None = None, metadata: Metadata | None = None) -> str:
        """Return SERVING or NOT_SERVING, for the whole server or for one service by its full name."""
        return self._send(calls.health(service), timeout, metadata)

    def _inputs(
        self, name: str, version: int | str | None, timeout: float | None, metadata: Metadata | None
    ) -> tuple[answers.Tensor, ...]:
        """Return a model's inputs, which are asked for once, and again when what was sent does not fit."""
        if (name, version) not in self._known:
            found = self.describe(name, version=version, timeout=timeout, metadata=metadata)
            self._known[name, version] = found.inputs
        return self._known[name, version]

    def _send(self, call: Call[Answer], timeout: float | None, metadata: Metadata | None) -> Answer:
        if self._closed:
            raise ValueError("this client is closed")
        return self._connection.send(call, timeout, metadata)

    def _pages(
        self, page: Callable[[str], Call[Answer]], timeout: float | None, metadata: Metadata | None
    ) -> list[Answer]:
        found: list[Any] = [self._send(page(""), timeout, metadata)]
        while token := found[-1].next_page_token:
            found.append(self._send(page(token), timeout, metadata))
        return found
