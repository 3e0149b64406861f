"""The elements that every gateway has around its methods: calls are traced, counted, and let in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import Token

from opentelemetry.context import Context
from opentelemetry.trace import Span

from turnout_server.gateway import spans as tracing
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.instruments import Instruments
from turnout_server.rpc.chain import CANCELLED, OK, End
from turnout_server.transport.call import Call
from turnout_server.transport.gate import Gate
from turnout_server.transport.status import status_of
from turnout_server.vocabulary.record import code_of


class Trace:
    """Makes the span of each call, the current one while it lasts."""

    def __init__(self, spans: Spans) -> None:
        """Make spans by *spans*."""
        self._spans = spans

    def enter(self, method: str, call: Call) -> tuple[Span, Token[Context] | None]:
        """Start a span."""
        span = self._spans.start(method, call.metadata)
        return span, tracing.enter(span)

    def leave(self, entered: tuple[Span, Token[Context] | None], method: str, end: End) -> None:
        """End it."""
        span, token = entered
        self._spans.end(span, end.code, end.reason)
        tracing.leave(token)


class Count:
    """Counts calls by their ends, and those in progress."""

    def __init__(self, instruments: Instruments) -> None:
        """Count in *instruments*."""
        self._instruments = instruments

    def enter(self, method: str, call: Call) -> int:
        """Note that a call is in progress, since when in nanoseconds."""
        self._instruments.in_flight += 1
        return time.perf_counter_ns()

    def leave(self, entered: int, method: str, end: End) -> None:
        """Count it."""
        self._instruments.in_flight -= 1
        self._instruments.record_rpc(method, end.code, time.perf_counter_ns() - entered)


class Admit:
    """Refuses what the gate does not let in."""

    def __init__(self, gate: Gate) -> None:
        """Ask *gate*."""
        self._gate = gate

    def enter(self, method: str, call: Call) -> str:
        """Let a call in, and return where it came from.

        Raises:
            ShuttingDownError, TooManyCallsError: see `Gate.enter`.
        """
        address = call.address if self._gate.looks_at_addresses else ""
        self._gate.enter(address)
        return address

    def leave(self, entered: str, method: str, end: End) -> None:
        """Let it out."""
        self._gate.leave(entered)


class Message:
    """One message of a stream, while it is answered."""

    __slots__ = ("end",)

    def __init__(self) -> None:
        self.end = OK
        """How it ends."""

    def failed(self, error: Exception) -> None:
        """Note that the answer to it tells of *error*."""
        self.end = End(status_of(error).code.name, code_of(error))


class Messages:
    """Traces and counts the messages of a stream, each as if it were a call: errors within are no status's matter."""

    def __init__(self, method: str, spans: Spans, instruments: Instruments) -> None:
        """Make what looks after the messages of *method*."""
        self._method = method
        self._spans = spans
        self._instruments = instruments

    @contextlib.contextmanager
    def one(self) -> Iterator[Message]:
        """Trace and count one, whose answer is made within."""
        message = Message()
        span = self._spans.start_message()
        token = tracing.enter(span)
        try:
            yield message
        except Exception as error:
            message.failed(error)
            raise
        except BaseException:
            message.end = CANCELLED
            raise
        finally:
            self._spans.end_message(span, message.end.code, message.end.reason)
            tracing.leave(token)
            self._instruments.record_message(self._method, message.end.code)
