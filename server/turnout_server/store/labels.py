"""labels.json: mutable names for versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from turnout_server.store.layout import LABELS_NAME, check_label
from turnout_server.vocabulary.errors import InvalidNameError, StoreError
from turnout_server.vocabulary.versions import LARGEST_VERSION

_Labels = dict[str, Annotated[int, msgspec.Meta(ge=1, le=LARGEST_VERSION)]]


def decode_labels(raw: bytes | None, model: str) -> dict[str, int]:
    """Return label -> version; none where *model* has no labels.json.

    Raises:
        StoreError: it is not a JSON object of labels and version numbers.
    """
    if raw is None:
        return {}
    try:
        labels: dict[str, int] = msgspec.json.decode(raw, type=_Labels)
        for label in labels:
            check_label(label)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidNameError) as error:
        raise StoreError(f'{model}/{LABELS_NAME}: {error}; it should look like {{"champion": 3}}') from error
    return labels


def encode_labels(labels: Mapping[str, int]) -> bytes:
    """Return the content of labels.json, sorted and indented."""
    return msgspec.json.format(msgspec.json.encode(labels, order="deterministic"), indent=2) + b"\n"
