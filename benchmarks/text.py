"""What the reports are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def listed(facts: Mapping[str, str]) -> str:
    """Return *facts* as one sentence without its full stop."""
    return "; ".join(f"{name} {value}" for name, value in facts.items())
