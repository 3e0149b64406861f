"""What every call goes through on its way in and out: one ordered chain of elements, built once for each method.

Nothing here knows a transport, an event loop or a message format. Authentication and authorisation are elements like
any other: what `enter` raises refuses the call, whoever the servicer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from turnout_server.transport.call import Call
from turnout_server.vocabulary.errors import DeadlineExpiredError


class End(NamedTuple):
    """How a call ended."""

    code: str
    """A gRPC status code's name."""
    reason: str = ""
    """The error's stable reason; empty for a call that was answered."""


OK = End("OK")
CANCELLED = End("CANCELLED", "CANCELLED")
EXPIRED = End("DEADLINE_EXCEEDED", DeadlineExpiredError.reason)


def end_of_abandoned(deadline: float | None, now: float) -> End:
    """Return how a call ended whose handler was cancelled: its deadline has passed, or else its caller has gone.

    Args:
        deadline: the call's, in seconds; None for none.
        now: on the same clock, taken after the deadline was asked for: some transports work it out from what is left.
    """
    return EXPIRED if deadline is not None and deadline <= now else CANCELLED


class Element(Protocol):
    """One step on every call's way."""

    def enter(self, method: str, call: Call) -> Any:
        """Look at a call of *method* (`package.Service/Method`) before its message is read.

        Returns:
            Whatever `leave` should be given back.

        Raises:
            TurnoutError: the call is refused; elements further in, and the servicer, never see it.
        """

    def leave(self, entered: Any, method: str, end: End) -> None:
        """Hear how a call that was let in has ended; *entered* is what `enter` returned. It must not raise."""


class Check:
    """An element that only looks at what comes in."""

    def enter(self, method: str, call: Call) -> None:
        """See `Element.enter`."""
        raise NotImplementedError

    def leave(self, entered: None, method: str, end: End) -> None:
        """Let it go."""


class Chain:
    """The elements around one method, the outermost first."""

    __slots__ = ("elements", "method")

    def __init__(self, method: str, elements: Sequence[Element]) -> None:
        self.method = method
        self.elements = tuple(elements)


class Passage:
    """One call on its way through a chain."""

    __slots__ = ("_call", "_chain", "_entered")

    def __init__(self, chain: Chain, call: Call) -> None:
        self._chain = chain
        self._call = call
        self._entered: list[Any] = []

    def enter(self) -> None:
        """Go in, as far as the elements let it.

        Raises:
            TurnoutError: an element refuses the call.
        """
        chain, call, entered = self._chain, self._call, self._entered
        for element in chain.elements:
            entered.append(element.enter(chain.method, call))

    def leave(self, end: End) -> None:
        """Tell the elements that let the call in, the innermost first, how it ended. Once.

        One that raises keeps no other from hearing of it, or calls would stay counted and admitted for ever.
        """
        chain, entered = self._chain, self._entered
        elements = chain.elements
        failure: Exception | None = None
        for index in range(len(entered) - 1, -1, -1):
            try:
                elements[index].leave(entered[index], chain.method, end)
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure
