"""Recommendation: a user's history -> `history`, `exclude` and `k`; `item_ids` and `scores` -> items.

Ids are text for callers and the catalogue's own numbers (or text) for graphs. In a graph that takes numbers, an id
that is no number it could hold is an item that the model does not know: it is left out of the history, and need not be
excluded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from turnout_server.vocabulary.errors import InvalidModelError, InvalidRequestError
from turnout_server.vocabulary.extent import Extent
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, Arrays

OUTPUTS = ("item_ids", "scores")
DEFAULT_K = 10
MAX_K = 1000
MAX_IDS = 10_000
"""Items in one history, or in one list of exclusions."""
PADDING = -1
"""No item, among ids that are numbers. Among ids that are text it is the empty one."""

_NARROWEST = 4

_is_number = re.compile(r"-?[0-9]{1,20}").fullmatch


class Wish(NamedTuple):
    """What one user is asking for."""

    history: tuple[str, ...]
    """Item ids, oldest first."""
    excluded: tuple[str, ...]
    """Item ids that must not come back."""
    k: int
    """1 to `MAX_K`."""


class Item(NamedTuple):
    """One recommended item."""

    id: str
    score: float


def wish(history: Sequence[str], excluded: Sequence[str], top_k: int) -> Wish:
    """Check a request.

    Args:
        history: item ids, oldest first.
        excluded: item ids that must not come back.
        top_k: how many items to return; 0 means `DEFAULT_K`.

    Raises:
        InvalidRequestError: there are more than `MAX_IDS` ids in a list, or *top_k* is negative or above `MAX_K`.
    """
    if not 0 <= top_k <= MAX_K:
        raise InvalidRequestError(f"top_k: found {top_k}; expected 0 to {MAX_K}")
    for place, ids in (("history_item_ids", history), ("excluded_item_ids", excluded)):
        if len(ids) > MAX_IDS:
            raise InvalidRequestError(f"{place}: found {len(ids)} items; at most {MAX_IDS} are allowed")
    return Wish(tuple(history), tuple(excluded), top_k or DEFAULT_K)


def arrays(signature: Signature, wished: Wish) -> Arrays:
    """Return the graph's inputs for one user: `history` [1, H], `exclude` [1, E] and `k`, usually [1].

    H and E are 0, or a power of two with `PADDING` (for BYTES: empty texts) behind the ids: requests with inputs of one
    width can run together, and graphs take padding for no item.

    Raises:
        InvalidModelError: the signature's inputs are other ones, or ids are neither integers nor BYTES in it.
        TooLargeError: there are more ids, as they were given, than the signature allows elements.
    """
    specs = {spec.name: spec for spec in signature.inputs}
    if specs.keys() != {"history", "exclude", "k"}:
        raise InvalidModelError(f"a recommendation model takes history, exclude and k; this one {', '.join(specs)}")
    extent = Extent(signature)
    for name, ids in (("history", wished.history), ("exclude", wished.excluded)):
        extent.add(name, (1, len(ids)), rowwise=True)
    return {
        "history": _ids(specs["history"], wished.history),
        "exclude": _ids(specs["exclude"], wished.excluded),
        "k": _count(specs["k"], wished.k),
    }


def items(outputs: Arrays, k: int) -> list[Item]:
    """Return at most *k* items, best first, without padding.

    Args:
        outputs: `item_ids` and `scores`, both of shape [1, W].
        k: how many items to return.

    Raises:
        InvalidModelError: the outputs are of another shape.
    """
    ids, scores = outputs["item_ids"], outputs["scores"]
    if ids.shape != scores.shape or ids.ndim != 2 or len(ids) != 1:
        raise InvalidModelError(f"item_ids and scores have shapes {ids.shape} and {scores.shape} for one user")
    found = zip(ids[0].tolist(), scores[0].tolist(), strict=True)
    return [Item(str(item), score) for item, score in found if item not in (PADDING, "")][:k]


def _ids(spec: TensorSpec, given: Sequence[str]) -> Array:
    dtype = NUMPY_DTYPES[spec.dtype]
    if spec.dtype is DType.BYTES:
        return _padded(np.array([item for item in given if item], dtype), "")
    if dtype.kind not in "iu":
        raise InvalidModelError(f"input {spec.name!r}: ids are INT64 or BYTES, not {spec.dtype}")
    numbers = [int(item) for item in given if _is_number(item)]
    try:
        ids = np.array(numbers, dtype)
    except OverflowError:
        limits = np.iinfo(dtype)
        ids = np.array([number for number in numbers if limits.min <= number <= limits.max], dtype)
    return _padded(ids, PADDING) if dtype.kind == "i" else ids[np.newaxis]


def _padded(ids: Array, padding: object) -> Array:
    """Return *ids* as one row whose width is one of a few."""
    width = max(1 << (len(ids) - 1).bit_length(), _NARROWEST) if len(ids) else 0
    row = np.full((1, width), padding, ids.dtype)
    row[0, : len(ids)] = ids
    return row


def _count(spec: TensorSpec, k: int) -> Array:
    dtype = NUMPY_DTYPES[spec.dtype]
    if dtype.kind not in "iu" or any(size not in (-1, 1) for size in spec.shape):
        raise InvalidModelError(f"input 'k' is one integer, not {spec.dtype} {list(spec.shape)}")
    return np.full((1,) * len(spec.shape), min(k, np.iinfo(dtype).max), dtype)
