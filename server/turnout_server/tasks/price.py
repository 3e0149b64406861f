"""Price prediction: rows of features -> a price and an interval a row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from turnout_server.tasks.features import Columns
from turnout_server.vocabulary.errors import InvalidModelError
from turnout_server.vocabulary.tensors import Array, Arrays

OUTPUTS = ("price", "low", "high")


class Price(NamedTuple):
    """One prediction, in the unit that the model was trained on."""

    price: float
    low: float
    high: float


def rows(columns: Columns) -> int:
    """Return how many rows *columns* describe: as many as the longest one; 1 without any, all of it being defaults."""
    return max(map(len, columns.values()), default=1)


def prices(outputs: Arrays, rows: int) -> list[Price]:
    """Return one prediction a row.

    Args:
        outputs: `price`, `low` and `high`, each of shape [rows] or [rows, 1].
        rows: how many the request had.

    Raises:
        InvalidModelError: an output is not one number a row.
    """
    return list(map(Price, *(_flat(name, outputs[name], rows) for name in OUTPUTS)))


def _flat(name: str, output: Array, rows: int) -> list[float]:
    if output.shape not in ((rows,), (rows, 1)) or output.dtype.kind not in "fiu":
        raise InvalidModelError(f"output {name!r} is {output.dtype} of shape {output.shape} for {rows} rows")
    flat: list[float] = output.reshape(-1).astype(np.float64, copy=False).tolist()
    return flat
