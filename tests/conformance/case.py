"""A case: what a client sends, what a rule asks for, and what each data plane makes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import frames
from tests.conformance.fields import LISTEN
from tests.conformance.otherwise import OTHERWISE
from tests.transport import raw
from tests.transport.raw import data, headers
from tests.transport.socket_wire import prefixed

if TYPE_CHECKING:
    from tests.conformance.visit import Visit

Script = Callable[["Visit"], Awaitable[str]]
"""A client that does more than to send bytes; returns what it saw, in the words below or its own."""

GOES_ON = "goes on"
"""Nothing comes of it: pings and new calls are answered as ever."""
HANGS_UP = "hangs up"
"""The connection ends without a word."""
OK = "OK"
UNSAID = "(not said)"
"""A rule that leaves it open."""

PING = frames.frame(frames.PING, 0, 0, b"01234567")
PLANES = ("engine", "grpcio")


def goaway(code: str) -> str:
    """The connection ends, and says why."""
    return f"GOAWAY {code}"


def reset(code: str) -> str:
    """The stream ends, and no other."""
    return f"RST_STREAM {code}"


def stream_error(code: str) -> tuple[str, ...]:
    """What RFC 9113, section 5.4.2 has for an error of one stream: by 5.4.1 it may end the connection as well."""
    return reset(code), goaway(code)


MALFORMED = (*stream_error("PROTOCOL_ERROR"), "HTTP 400")
"""What section 8.1.1 has for a request that is none."""

GREETING = raw.opening()
A_CALL = GREETING + headers(1, LISTEN) + data(1, prefixed(b""))
"""A call on stream 1 that has begun and whose body goes on: its handler takes all, and answers nothing."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    section: str
    """Of the chapter's document."""
    name: str
    rule: str | tuple[str, ...]
    """What the document asks for; where it leaves a choice, the usual first."""
    sent: bytes | Script
    before: bytes = A_CALL
    """What was said and taken before."""
    stream: int = 1
    """Where the answer is expected."""

    @property
    def rules(self) -> tuple[str, ...]:
        """All that the rule allows."""
        return (self.rule,) if isinstance(self.rule, str) else self.rule

    def expected(self, plane: str) -> str:
        """Return what *plane* does."""
        return OTHERWISE[plane].get((self.section, self.name), self.rules[0])

    def allows(self, answer: str) -> bool:
        """Say whether the document allows *answer*."""
        return UNSAID in self.rules or answer in self.rules


@dataclass(frozen=True)
class Chapter:
    """The cases of one document."""

    title: str
    cases: tuple[Case, ...]


def connection(section: str, rows: dict[str, bytes], code: str, before: bytes = A_CALL) -> list[Case]:
    """Return cases of what ends the connection."""
    return [Case(section, name, goaway(code), sent, before) for name, sent in rows.items()]
