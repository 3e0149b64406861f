"""Requests without tensors."""

from __future__ import annotations

from collections.abc import Hashable

from turnout_server.scheduling.item import DEFAULT_PRIORITY, Item


def item(
    rows: int = 1,
    deadline: float | None = None,
    *,
    key: Hashable = None,
    priority: int = DEFAULT_PRIORITY,
    size: int | None = None,
    inline: bool = True,
    offered: float = 0.0,
) -> Item:
    """Return a request of *rows* rows of 8 bytes that comes at *offered* seconds."""
    return Item(
        inputs={},
        outputs=(),
        rows=rows,
        nbytes=rows * 8,
        deadline=deadline,
        done=lambda *answer: None,
        size=rows or 1 if size is None else size,
        inline=inline,
        key=key,
        priority=priority,
        offered_ns=round(offered * 1e9),
    )
