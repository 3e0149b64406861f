"""Clients that call as clients do: one after the other, in floods, on streams; and give up at times."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from grpc import aio

import turnout
from tests.soak.asks import ANSWERED, INFER, STREAM, Ask, Composer, deck
from tests.soak.judge import Verdict
from tests.soak.ledger import CODE_OF_REASON, CUT_OFF, Ledger
from tests.soak.models import MODELS
from tests.soak.shelf import Shelf
from turnout_server.rpc.stubs import open_inference_pb2 as oip

PATIENCE_S = 30.0
"""How long anybody waits for an answer before it counts as lost; no queue is as long."""
FLOOD = 500
"""Calls at once: far more than the slow model's queue takes."""
Over = Callable[[], bool]


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[aio.Channel]:
    """Lend a channel with a connection of its own that tries nothing twice."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with aio.insecure_channel(address, options) as channel:
        yield channel


class Caller:
    """One client."""

    def __init__(self, name: str, random: Random, address: str, shelf: Shelf, ledger: Ledger) -> None:
        """Make a client that has not called yet."""
        self.random = random
        self.shelf = shelf
        self.ledger = ledger
        self.composer = Composer(random, shelf, name)
        self._address = address

    # ------------------------------------------------------------ what a client does all day

    async def call(self, over: Over) -> None:
        """Call in every way there is, in a random order, again and again."""
        compose = self.composer
        patient = [compose.plain] * 12 + [compose.price, compose.rank, compose.recommend] * 2 + [compose.defective] * 5
        cards: list[Callable[[aio.Channel], Awaitable[None]]] = [
            *(self._waiting(make) for make in (*patient, compose.hurried, compose.hurried)),
            self.cancelling,
            self.cancelling,
        ]
        while not over():
            async with connected(self._address) as channel:
                for _ in range(self.random.randint(1, 8)):
                    for card in deck(self.random, cards):
                        if over():
                            return
                        await card(channel)

    def _waiting(self, make: Callable[[], Ask]) -> Callable[[aio.Channel], Awaitable[None]]:
        return lambda channel: self.wait(channel, make())

    async def flood(self, over: Over) -> None:
        """Send far more at once than there is room for, take a rest, and do it again."""
        async with connected(self._address) as channel:
            while not over():
                some = [self.composer.plain() for _ in range(FLOOD // 10)]
                asks = some + [self.composer.to_slow() for _ in range(FLOOD - len(some))]
                for ask in asks:
                    ask.what = f"flood: {ask.name}"
                await asyncio.gather(*(self.wait(channel, ask) for ask in deck(self.random, asks)))
                await asyncio.sleep(self.random.uniform(0.5, 2.0))

    async def stream(self, over: Over) -> None:
        """Send requests, good and bad, on one stream after the other."""
        while not over():
            async with connected(self._address) as channel:
                for _ in range(self.random.randint(1, 5)):
                    if not over():
                        await self._one_stream(channel)

    # ------------------------------------------------------------ single calls

    async def wait(self, channel: aio.Channel, ask: Ask) -> None:
        """Call, wait for the end, and judge it."""
        method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{ask.method}")
        call = method(ask.payload, timeout=ask.timeout_s, metadata=ask.metadata)
        try:
            raw = await asyncio.wait_for(call, PATIENCE_S)
        except TimeoutError:
            self._lost(ask)
        except asyncio.CancelledError:
            self._cancelled_by_server(ask)
        except aio.AioRpcError as error:
            code, trailers = error.code().name, error.trailing_metadata()
            if ask.timeout_s is not None and code == "DEADLINE_EXCEEDED":
                # The client's own clock may have rung first.
                self.ledger.unseen_call(ask.method)
                self.ledger.unseen_end(ask, code)
                return
            details = turnout.errors.status_details(trailers)
            self.ledger.ended(ask.method, code)
            self.ledger.failed(ask, code, details.reason, error.details() or "", details.retry_after)
        else:
            self.ledger.ended(ask.method, "OK")
            judge = ask.judge or _unexpected
            self.ledger.answered(ask, lambda: judge(raw, self.shelf))

    def _cancelled_by_server(self, ask: Ask) -> None:
        _raise_if_cancelled()
        self.ledger.ended(ask.method, "CANCELLED")
        self.ledger.failed(ask, "CANCELLED", "", "", None)

    async def cancelling(self, channel: aio.Channel) -> None:
        """Call, and give up a moment later."""
        ask = self.composer.plain([MODELS[name] for name in ("table", "slow")])
        method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{INFER}")
        call = method(ask.payload, metadata=ask.metadata)
        await asyncio.sleep(self.random.choice((0.0, 0.0005, 0.002, 0.01)))
        call.cancel()
        ask.what = "cancelled"
        self.ledger.unseen_call(INFER)
        self.ledger.unseen_end(ask, "CANCELLED")

    def _lost(self, ask: Ask) -> None:
        self.ledger.unseen_call(ask.method)
        self.ledger.unseen_end(ask, "LOST")
        self.ledger.problem(ask.what, f"no answer within {PATIENCE_S:g} s")

    # ------------------------------------------------------------ streams

    async def _one_stream(self, channel: aio.Channel) -> None:
        random = self.random
        leaves = random.random() < 0.3
        raises = not leaves and random.random() < 0.2
        under_way: deque[Ask] = deque()
        asks = [self._streamed(leaves, raises) for _ in range(random.randint(0, 40))]
        leaves_after = random.randint(0, len(asks)) if leaves else len(asks) + 1

        async def requests() -> AsyncIterator[bytes]:
            for ask in asks:
                under_way.append(ask)
                yield ask.payload
                if random.random() < 0.1:
                    await asyncio.sleep(0.005)

        metadata = (("triton_grpc_error", "true"),) if raises else ()
        method: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"/{STREAM}")
        call = method(requests(), metadata=metadata)
        answers = aiter(call)
        for _ in range(leaves_after):
            try:
                raw = await asyncio.wait_for(anext(answers), PATIENCE_S)
            except StopAsyncIteration:
                self._stream_over(under_way, asks)
                return
            except TimeoutError:
                self._lost(under_way.popleft() if under_way else asks[0])
                break
            except asyncio.CancelledError:
                self._stream_cancelled(under_way)
                return
            except aio.AioRpcError as error:
                self._stream_failed(error, under_way)
                return
            self._streamed_answer(under_way.popleft(), oip.ModelStreamInferResponse.FromString(raw))
        call.cancel()
        self.ledger.unseen_call(STREAM)
        for ask in under_way:
            ask.what = "stream left"
            self.ledger.unseen_end(ask, "CANCELLED")

    def _streamed(self, leaves: bool, raises: bool) -> Ask:
        if leaves or raises:
            # These lose answers: they are for models of which the counts need not be exact.
            return self.composer.streamed([MODELS[name] for name in ("table", "wide")])
        return self.composer.defective(streamed=True) if self.random.random() < 0.2 else self.composer.streamed()

    def _stream_over(self, under_way: deque[Ask], asks: list[Ask]) -> None:
        self.ledger.ended(STREAM, "OK")
        if under_way:
            self.ledger.problem("stream", f"ended with {len(under_way)} of {len(asks)} requests unanswered")

    def _stream_cancelled(self, under_way: deque[Ask]) -> None:
        _raise_if_cancelled()
        self.ledger.ended(STREAM, "CANCELLED")
        if not self.ledger.closing:
            self.ledger.problem("stream", f"was cancelled with {len(under_way)} requests under way")
        for ask in under_way:
            self.ledger.unseen_end(ask, "LOST WITH ITS STREAM")

    def _stream_failed(self, error: aio.AioRpcError, under_way: deque[Ask]) -> None:
        """A stream ends with a status when its caller asked for that, and when the server goes."""
        details = turnout.errors.status_details(error.trailing_metadata())
        if error.details() == CUT_OFF and under_way and under_way[0].codes != ANSWERED:
            # The first one failed, and grpc.aio, still writing those behind it, has lost the status that says so.
            self.ledger.unseen_call(STREAM)
            for ask in under_way:
                self.ledger.unseen_end(ask, "LOST WITH ITS STREAM")
            return
        self.ledger.ended(STREAM, error.code().name)
        if under_way:
            first = under_way.popleft()
            self.ledger.failed(first, error.code().name, details.reason, error.details() or "", details.retry_after)
        elif not self.ledger.closing:
            self.ledger.problem("stream", f"ended with {error.code().name} {error.details()!r}, and nothing under way")
        for ask in under_way:
            self.ledger.unseen_end(ask, "LOST WITH ITS STREAM")

    def _streamed_answer(self, ask: Ask, answer: oip.ModelStreamInferResponse) -> None:
        if answer.infer_response.id != (ask.message.id if ask.message else ""):
            self.ledger.problem(ask.what, f"the stream's answer is for {answer.infer_response.id!r}")
        if answer.error_message:
            reason, _, text = answer.error_message.partition(": ")
            code = CODE_OF_REASON.get(reason, "UNKNOWN")
            # A stream has no place for the time after which to come back.
            self.ledger.failed(ask, code, reason, text, 1.0 if code == "RESOURCE_EXHAUSTED" else None)
            return
        judge = ask.judge_message or _unexpected
        self.ledger.answered(ask, lambda: judge(answer.infer_response, self.shelf))

    # ------------------------------------------------------------ looking

    async def look(self, over: Over) -> None:
        """Ask the server about itself, all the time."""
        async with connected(self._address) as channel:
            while not over():
                for method, request in deck(self.random, _LOOKS):
                    await self._look(channel, method, request)
                await asyncio.sleep(self.random.uniform(0.02, 0.2))

    async def _look(self, channel: aio.Channel, method: str, request: Any) -> None:
        path = f"inference.GRPCInferenceService/{method}"
        ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{path}")
        call = ask(request.SerializeToString())
        try:
            raw = await asyncio.wait_for(call, PATIENCE_S)
        except aio.AioRpcError as error:
            self.ledger.ended(path, error.code().name)
            if not self.ledger.closing:
                self.ledger.problem(method, f"ended with {error.code().name} {error.details()!r}")
            return
        except TimeoutError:
            self.ledger.problem(method, f"no answer within {PATIENCE_S:g} s")
            return
        self.ledger.ended(path, "OK")
        if method == "ModelReady" and not oip.ModelReadyResponse.FromString(raw).ready:
            self.ledger.problem(method, f"{request.name} {request.version} is not ready")


_LOOKS: list[tuple[str, Any]] = [
    ("ServerLive", oip.ServerLiveRequest()),
    ("ServerMetadata", oip.ServerMetadataRequest()),
    ("RepositoryIndex", oip.RepositoryIndexRequest()),
    ("ModelStatistics", oip.ModelStatisticsRequest()),
    ("ModelMetadata", oip.ModelMetadataRequest(name="price-split")),
    ("ModelReady", oip.ModelReadyRequest(name="words", version="champion")),
    ("ModelReady", oip.ModelReadyRequest(name="slow-split")),
]


def _unexpected(answer: object, shelf: Shelf) -> Verdict:
    return Verdict(["was answered, and nothing knows what the answer should be"])


def _raise_if_cancelled() -> None:
    """Tell a call that was cancelled from a task that was: grpc.aio raises the same for both."""
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError
