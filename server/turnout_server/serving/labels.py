"""From the store's present state to the whole wish, repeated each time; and what labels and routes get meanwhile.

A label that moves keeps naming its old version until the new one is AVAILABLE, and for good if that one fails: callers
of a label or a route never meet a version that is still loading.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from turnout_server.vocabulary.versions import Labels, VersionKey


def effective_labels(
    stored: Labels,
    serving: Labels,
    needed: Mapping[str, Collection[int | str]],
    is_available: Callable[[VersionKey], bool],
) -> dict[str, dict[str, int]]:
    """Return which version each label gets now.

    Args:
        stored: the labels in the store.
        serving: what this function returned the last time.
        needed: the selectors that routes stand on, by model; a label of theirs outlives its removal from the store.
        is_available: whether a version can be leased.
    """
    orphans = {
        model: {label: version for label, version in labels.items() if label in needed.get(model, ())}
        for model, labels in serving.items()
    }
    return {
        model: orphans.get(model, {})
        | {
            label: _effective(model, wanted, serving.get(model, {}).get(label), is_available)
            for label, wanted in stored.get(model, {}).items()
        }
        for model in stored.keys() | {model for model, labels in orphans.items() if labels}
    }


def _effective(model: str, wanted: int, before: int | None, is_available: Callable[[VersionKey], bool]) -> int:
    if before is None or is_available(VersionKey(model, wanted)) or not is_available(VersionKey(model, before)):
        return wanted
    return before
