"""Who bought what, in order: purchases split at a day into histories and what came after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipelines.sources import Floats, Ints, Purchases

PADDING = -1
"""Fills rows of raw ids; it is no item's id."""


@dataclass(frozen=True)
class Histories:
    """What customers bought, flattened: customer 0's lines, oldest first, then customer 1's, and so on.

    Items and customers are numbered by the places of their ids in `items` and `customers`.
    """

    items: Ints
    """Raw ids, ascending, shape [items]."""
    customers: Ints
    """Raw ids, ascending, shape [customers]."""
    customer: Ints
    """The customer of each line, ascending, shape [lines]."""
    item: Ints
    """The item of each line, shape [lines]."""
    day: Ints
    """The day of each line, ascending within a customer, shape [lines]."""

    @cached_property
    def bounds(self) -> Ints:
        """Customer c's lines are bounds[c] up to bounds[c + 1]; shape [customers + 1]."""
        return np.searchsorted(self.customer, np.arange(len(self.customers) + 1))

    @cached_property
    def places_from_end(self) -> Ints:
        """How many lines of the same customer come after each line, shape [lines]."""
        return self.bounds[1:][self.customer] - 1 - np.arange(len(self.customer))

    @cached_property
    def sales(self) -> Floats:
        """Lines of each item, shape [items]."""
        return np.bincount(self.item, minlength=len(self.items)).astype(np.float64)

    def of(self, customer: int) -> Ints:
        """Return one customer's items, oldest first."""
        return self.item[self.bounds[customer] : self.bounds[customer + 1]]


def split(
    purchases: Purchases, day: int, *, end: int | None = None, fewest_buyers: int = 10, fewest_items: int = 5
) -> tuple[Histories, Histories]:
    """Split *purchases* into what was bought before *day* and from then on, before *end* if there is one.

    Both count only items that at least *fewest_buyers* customers bought before *day*, and customers who bought at least
    *fewest_items* different ones of these before *day*.
    """
    before = purchases.day < day
    after = ~before if end is None else ~before & (purchases.day < end)
    pairs = np.unique(np.stack([purchases.customer[before], purchases.product[before]], axis=1), axis=0)
    items, buyers = np.unique(pairs[:, 1], return_counts=True)
    items = items[buyers >= fewest_buyers]
    customers, widths = np.unique(pairs[np.isin(pairs[:, 1], items), 0], return_counts=True)
    customers = customers[widths >= fewest_items]
    kept = np.isin(purchases.product, items) & np.isin(purchases.customer, customers)
    first, second = (_histories(purchases, items, customers, kept & side) for side in (before, after))
    return first, second


def padded(rows: Sequence[Ints], filling: int) -> Ints:
    """Return *rows* as one matrix, shape [rows, longest row], each padded at its end with *filling*."""
    matrix = np.full((len(rows), max((len(row) for row in rows), default=0)), filling, dtype=np.int64)
    for place, row in enumerate(rows):
        matrix[place, : len(row)] = row
    return matrix


def places_from_end(known: npt.NDArray[np.bool_]) -> Ints:
    """Return how many known entries come after each entry of its row; same shape as *known*, [rows, width]."""
    return np.asarray(known[:, ::-1].cumsum(axis=1)[:, ::-1] - known, dtype=np.int64)


def _histories(purchases: Purchases, items: Ints, customers: Ints, kept: npt.NDArray[np.bool_]) -> Histories:
    order = np.lexsort((purchases.day[kept], purchases.customer[kept]))
    return Histories(
        items=items,
        customers=customers,
        customer=np.searchsorted(customers, purchases.customer[kept][order]),
        item=np.searchsorted(items, purchases.product[kept][order]),
        day=purchases.day[kept][order],
    )
