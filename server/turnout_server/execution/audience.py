"""Who waits for a run in a thread. When the last of them has left, the run is ended: it would only heat the machine."""

from __future__ import annotations

from collections.abc import Sequence

from turnout_server.execution.batch_run import Ending
from turnout_server.scheduling.item import Item


class _Audience:
    """The requests of one batch that still wait for it."""

    def __init__(self, ending: Ending, there: int) -> None:
        self.ending = ending
        self.there = there


class Audiences:
    """The audiences of one version's runs under way. The event loop's thread only."""

    def __init__(self) -> None:
        self._by_item: dict[Item, _Audience] = {}

    def __len__(self) -> int:
        """Return how many requests wait for a run."""
        return len(self._by_item)

    def gather(self, ending: Ending, items: Sequence[Item]) -> None:
        """Have the runs that *ending* ends waited for by *items*."""
        audience = _Audience(ending, len(items))
        self._by_item.update(dict.fromkeys(items, audience))

    def leave(self, item: Item) -> None:
        """Note that nobody waits for *item* any more, which may be among those under way or not."""
        audience = self._by_item.pop(item, None)
        if audience is None:
            return
        audience.there -= 1
        if not audience.there:
            audience.ending.end()

    def disperse(self, items: Sequence[Item]) -> None:
        """Forget *items*, whose runs are over."""
        for item in items:
            self._by_item.pop(item, None)
