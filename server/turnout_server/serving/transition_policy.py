"""What to do next to get from what is loaded to what is aspired: one action at a time, and no memory of its own.

Availability comes first: while any wished version of a model is still on its way, the ones that serve now stay. So does
the last one that serves when every wished version has failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from turnout_server.serving.state import State
from turnout_server.vocabulary.versions import VersionKey


@dataclass(frozen=True)
class Load:
    """Start loading a version."""

    key: VersionKey


@dataclass(frozen=True)
class Unload:
    """Drain a version's leases and give its memory back."""

    key: VersionKey


Action = Load | Unload


@dataclass(frozen=True)
class Snapshot:
    """One version as the policy sees it."""

    state: State
    aspired: bool
    """Whether it is wished for."""
    in_use: bool = False
    """Whether the route table or a label that is being served stands on it at this moment."""
    retry_due: bool = True
    """For a failed one: whether it is time to try again."""


def next_action(snapshots: Mapping[VersionKey, Snapshot], free_loaders: int) -> Action | None:
    """Return the next thing to do, or None when there is nothing, or nothing yet.

    Args:
        snapshots: every version that is wished for or not yet gone.
        free_loaders: how many more versions may start loading.
    """
    for key, snapshot in sorted(snapshots.items()):
        if not snapshot.aspired and not snapshot.in_use and snapshot.state in (State.AVAILABLE, State.FAILED):
            siblings = [other for name, other in snapshots.items() if name.model == key.model and name != key]
            if snapshot.state is State.FAILED or _dispensable(siblings):
                return Unload(key)
    if free_loaders > 0:
        for key, snapshot in sorted(snapshots.items(), key=_turn):
            due = snapshot.state is State.STORED or (snapshot.state is State.FAILED and snapshot.retry_due)
            if snapshot.aspired and due:
                return Load(key)
    return None


def _turn(item: tuple[VersionKey, Snapshot]) -> tuple[str, bool, int]:
    """Order versions for loading: newest first, and what has failed last.

    After a restart callers of the bare model name should not see it jump back and forth. A version that fails again and
    again must not keep the loaders from the others.
    """
    key, snapshot = item
    return key.model, snapshot.state is State.FAILED, -key.version


def _dispensable(siblings: Iterable[Snapshot]) -> bool:
    """Say whether a version that nobody wishes for may go, given the model's other versions."""
    wished = [sibling for sibling in siblings if sibling.aspired]
    if any(sibling.state in (State.STORED, State.LOADING) for sibling in wished):
        return False
    return not wished or any(sibling.state is State.AVAILABLE for sibling in wished)
