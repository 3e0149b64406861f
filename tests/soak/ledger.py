"""What the clients saw: how every call ended, who answered, and everything that was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic

from tests.soak.asks import Ask
from tests.soak.judge import Served, Verdict
from turnout_server.transport.status import CODES
from turnout_server.vocabulary import errors

REFUSALS = frozenset({"QUEUE_FULL", "TOO_MANY_CALLS"})
"""The reasons for which anybody may be refused."""
SHUTDOWN = frozenset({"UNAVAILABLE", "CANCELLED"})
"""How calls may end when the server goes: grpcio's has no better word for streams that go on for ever."""

CUT_OFF = "Internal error from Core"
"""What grpc.aio's client says when the connection goes while it is writing."""


def _codes() -> dict[str, str]:
    found: dict[str, str] = {}
    kinds: list[type[errors.TurnoutError]] = [errors.TurnoutError]
    while kinds:
        kind = kinds.pop()
        found.setdefault(kind.reason, CODES[kind.kind].name)
        kinds += kind.__subclasses__()
    return found


CODE_OF_REASON = _codes()
"""The status code for each stable reason; streams say the reason only."""


class Ledger:
    """Everything that was seen. One event loop's thread only."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        """All that was wrong, in order."""
        self.ends: Counter[tuple[str, str]] = Counter()
        """How often each kind of request ended in which way."""
        self.calls: Counter[tuple[str, str]] = Counter()
        """Calls by method and status code, of those whose end was the server's doing and was seen."""
        self.unseen_calls: Counter[str] = Counter()
        """Calls by method, of those whose end nobody saw: the server may have seen another, or none."""
        self.answers: Counter[Served] = Counter()
        """Answered requests."""
        self.rows: Counter[tuple[str, int]] = Counter()
        """Rows answered, by model and version; of the Open Inference Protocol only."""
        self.refused: Counter[str] = Counter()
        """Refused requests by reason."""
        self.unseen: Counter[str] = Counter()
        """Requests by the route or model asked for, of those whose end nobody saw."""
        self.attacks: Counter[str] = Counter()
        """How often each attack was tried."""
        self.closing = False
        """Whether the server is being ended: then it may say so."""
        self.started = monotonic()

    def problem(self, what: str, *details: str) -> None:
        """Note something wrong."""
        self.problems.append(f"[{monotonic() - self.started:7.2f} s] {what}: {'; '.join(details)}")

    def answered(self, ask: Ask, judge: Callable[[], Verdict]) -> None:
        """A request was answered."""
        self.ends[ask.what, "OK"] += 1
        if "OK" not in ask.codes:
            self.problem(ask.what, f"was answered; expected {sorted(ask.codes)}")
            return
        problems, served = judge()
        if served is not None:
            self.answers[served] += 1
            self.rows[served.model, served.version] += ask.rows
        if problems:
            self.problem(ask.what, *problems)

    def failed(self, ask: Ask, code: str, reason: str, text: str, retry_after_s: float | None) -> None:
        """A request was not answered, as the server says."""
        self.ends[ask.what, code] += 1
        self.refused[reason] += 1
        shown = f"{code} {reason} {text!r}"
        if reason in REFUSALS:
            if code != "RESOURCE_EXHAUSTED" or retry_after_s is None or retry_after_s <= 0:
                self.problem(ask.what, f"{shown} does not say when to retry")
        elif code not in ask.codes and not (self.closing and (code in SHUTDOWN or text == CUT_OFF)):
            self.problem(ask.what, f"ended with {shown}; expected {sorted(ask.codes)}")
        elif not reason and code not in ("DEADLINE_EXCEEDED", "UNIMPLEMENTED") and not self.closing:
            self.problem(ask.what, f"{shown} has no reason")

    def unseen_end(self, ask: Ask, why: str) -> None:
        """A request was sent, or may have been, and nobody waited for what became of it."""
        self.ends[ask.what, why] += 1
        if ask.name:
            self.unseen[ask.name] += 1

    def ended(self, method: str, code: str) -> None:
        """A call ended as the server wished."""
        self.calls[method, code] += 1

    def unseen_call(self, method: str) -> None:
        """A call was begun, or may have been, and nobody knows how the server saw it end."""
        self.unseen_calls[method] += 1
