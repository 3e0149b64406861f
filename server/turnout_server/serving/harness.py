"""One version's life: load, serve under leases, drain, unload; and when to try again after a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from turnout_server.serving.state import State
from turnout_server.vocabulary.errors import VersionUnavailableError
from turnout_server.vocabulary.versions import VersionKey

S = TypeVar("S")

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0


def retry_delay(attempts: int) -> float:
    """Return how long to wait after the *attempts*-th failure, in seconds: doubling, up to five minutes."""
    return min(FIRST_RETRY_S * 2.0 ** min(attempts - 1, 30), LONGEST_RETRY_S)


class Lease(Generic[S]):
    """The hold that a request has on a servable; until it is released, the version cannot be unloaded."""

    __slots__ = ("_harness", "servable")

    def __init__(self, harness: Harness[S], servable: S) -> None:
        self._harness: Harness[S] | None = harness
        self.servable = servable

    def release(self) -> None:
        """Let go. Further calls do nothing."""
        harness, self._harness = self._harness, None
        if harness is not None:
            harness.release_one()


class Harness(Generic[S]):
    """One version's state, servable and leases. Not thread-safe: the event loop's thread only."""

    __slots__ = ("_on_drained", "_servable", "attempts", "detail", "key", "leases", "problem", "retry_at", "state")

    def __init__(self, key: VersionKey) -> None:
        self.key = key
        self.state = State.STORED
        self.detail = ""
        self.attempts = 0
        """Failed loads in a row."""
        self.problem = ""
        """Why the last load failed, while `attempts` is not 0."""
        self.retry_at = 0.0
        self.leases = 0
        self._servable: S | None = None
        self._on_drained: Callable[[], None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether it is being loaded or unloaded."""
        return self.state in (State.LOADING, State.UNLOADING)

    def loading(self) -> None:
        """Loading has started."""
        self.state, self.detail = State.LOADING, f"once more: {self.problem}" if self.attempts > 0 else ""

    def loaded(self, servable: S) -> None:
        """Loading has succeeded."""
        self.state, self.detail, self.attempts = State.AVAILABLE, "", 0
        self._servable = servable

    def failed(self, problem: str, now: float) -> None:
        """Loading has failed; try again after a while."""
        self.attempts += 1
        problem = self.key.without_name(problem)
        self.state, self.detail, self.problem = State.FAILED, problem, problem
        self.retry_at = now + retry_delay(self.attempts)

    def withdrawn(self, problem: str, now: float) -> None:
        """It was unloaded for what it did while it served; try again after the longest while."""
        self.failed(problem, now)
        self.retry_at = now + LONGEST_RETRY_S

    def lease(self) -> Lease[S]:
        """Take hold of the servable.

        Raises:
            VersionUnavailableError: the version is not AVAILABLE.
        """
        servable = self._servable
        if servable is None or self.state is not State.AVAILABLE:
            detail = f" ({self.detail})" if self.detail else ""
            raise VersionUnavailableError(self.key.model, self.key.version, f"{self.state.value}{detail}")
        self.leases += 1
        return Lease(self, servable)

    def peek(self) -> S | None:
        """Return the servable while it is AVAILABLE, without holding it."""
        return self._servable if self.state is State.AVAILABLE else None

    def release_one(self) -> None:
        """End one lease."""
        self.leases -= 1
        if self.leases == 0 and self._on_drained is not None:
            on_drained, self._on_drained = self._on_drained, None
            on_drained()

    def drain(self, then: Callable[[], None]) -> None:
        """Take no new leases; call *then* once the last one has ended, at once if there is none."""
        self.state, self.detail = State.UNLOADING, ""
        if self.leases == 0:
            then()
        else:
            self._on_drained = then

    def take(self) -> S | None:
        """Hand over the drained servable for unloading; the harness keeps nothing of it."""
        servable, self._servable = self._servable, None
        return servable
