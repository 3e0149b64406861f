"""One request on its way through a queue, and the batch that it runs in."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from turnout_server.vocabulary.tensors import Arrays

HIGHEST_PRIORITY = 1
LOWEST_PRIORITY = 10
DEFAULT_PRIORITY = 2
"""What a request without a priority, or with Triton's 0, gets: one level is left above it, the others are below."""
PRIORITY_STEP_S = 0.05
"""What one level of priority is worth: a request goes ahead of those that came up to so much earlier, for each level
between them. So the lowest level waits for newcomers of the highest for less than half a second."""


@dataclass(slots=True, eq=False)
class Item:
    """One request."""

    inputs: Arrays
    outputs: tuple[str, ...]
    rows: int
    nbytes: int
    deadline: float | None
    """Seconds, on the clock that `offer` and `next_batch` are given."""
    done: Callable[..., None]
    """The driver's: what to call when it has run or will not run."""
    size: int = 1
    """What its run time grows with: its rows, or more where other axes are free too."""
    inline: bool = True
    """Whether it may run on the event loop."""
    key: Hashable = None
    """Requests with equal keys may run together; None runs alone."""
    priority: int = DEFAULT_PRIORITY
    """From `HIGHEST_PRIORITY` to `LOWEST_PRIORITY`."""
    offered_ns: int = 0
    """When it was offered, in nanoseconds on the same clock."""
    input_ns: int = 0
    """The driver's: what it took to make the inputs."""
    span: object = None
    """The driver's: the request's span, if it is recorded."""
    waiting: bool = False
    """Whether it is in a queue."""

    @property
    def room(self) -> int:
        """How many rows it takes the room of: a request without rows takes that of one."""
        return self.rows or 1


def level_of(priority: int) -> int:
    """Return the level that *priority* asks for, as Triton has it: 0 for the default, 1 for the highest."""
    return min(priority, LOWEST_PRIORITY) if priority > 0 else DEFAULT_PRIORITY


@dataclass(slots=True, eq=False)
class Batch:
    """Requests that run together."""

    items: list[Item] = field(default_factory=list)
    inline: bool = True
    """Whether it is to run on the event loop."""

    @property
    def rows(self) -> int:
        """Rows of all its requests."""
        return sum(item.rows for item in self.items)

    @property
    def size(self) -> int:
        """The size of all its requests."""
        return sum(item.size for item in self.items)
