"""Which product of a subclass does a shopper take? Queries, candidates and features from a history of purchases.

A query is a customer, a day and a subclass in which the customer bought something on that day. Its candidates are the
subclass's products that sold most before the period began. Every feature looks only at days before the query's day,
and a caller who keeps counts per product and per customer can compute all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.sources import Floats, Ints, Purchases

NEVER = 365.0
"""Stands for days since something that has not happened."""
CONTEXT = {
    "own_subclass_purchases": 0.0,
    "own_subclass_days_since": NEVER,
}
"""The shopper's features and their defaults: earlier purchases in the subclass; days since the last of them."""
CANDIDATE = {
    "own_purchases": 0.0,
    "own_days_since": NEVER,
    "own_share": 0.0,
    "sold_7d": 0.0,
    "sold_28d": 0.0,
    "share_1d": 0.0,
    "share_3d": 0.0,
    "share_7d": 0.0,
    "share_28d": 0.0,
    "relative_sales": 0.0,
    "discount": 1.0,
    "relative_price": 1.0,
    "own_relative_price": 1.0,
}
"""A candidate's features and their defaults.

- own_purchases, own_days_since: days on which the shopper bought it before; days since the last one.
- own_share: own_purchases over own_subclass_purchases.
- sold_7d, sold_28d: lines of all shoppers with it in the last 7 and 28 days.
- share_1d, share_3d, share_7d, share_28d: its share of the candidates' lines in the last 1, 3, 7 and 28 days.
- relative_sales: sold_28d over the largest sold_28d among the candidates.
- discount: its price (the mean of a piece on the last day on which it sold) over its mean price so far.
- relative_price, own_relative_price: price over the candidates' mean, over the mean the shopper paid in the subclass.
"""
FEATURES = CONTEXT | CANDIDATE
"""All of them, in the order of the graph's columns."""
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Queries:
    """Queries with their candidates, flattened: a row is one candidate of one query."""

    customer: Ints
    """Shape [queries]."""
    day: Ints
    """Shape [queries]."""
    subclass: Ints
    """Shape [queries]."""
    group: Ints
    """The query of each row, ascending, shape [rows]."""
    product: Ints
    """Shape [rows]."""
    bought: Bools
    """Whether the customer bought it on that day, shape [rows]."""

    def select(self, chosen: Ints) -> Queries:
        """Return the queries whose numbers are in *chosen*, ascending, numbered anew."""
        number = np.full(len(self.customer), -1, dtype=np.int64)
        number[chosen] = np.arange(len(chosen))
        rows = number[self.group] >= 0
        return Queries(
            customer=self.customer[chosen],
            day=self.day[chosen],
            subclass=self.subclass[chosen],
            group=number[self.group[rows]],
            product=self.product[rows],
            bought=self.bought[rows],
        )


def queries(purchases: Purchases, first: int, last: int, *, widest: int = 50, fewest: int = 10) -> Queries:
    """Return the queries of the days from *first* up to, but not including, *last*.

    Candidates are the *widest* products of the subclass with most lines before *first*. Queries with under *fewest*
    candidates, or that bought none of them, are left out.
    """
    subclass, candidates = _candidates(purchases, first, widest)
    inside = (purchases.day >= first) & (purchases.day < last)
    products, bought_product = np.unique(purchases.product, return_inverse=True)
    lines = np.stack([purchases.customer, purchases.day, purchases.subclass], axis=1)[inside]
    asked, query = np.unique(lines, axis=0, return_inverse=True)
    position = np.searchsorted(subclass, asked[:, 2])
    known = (position < len(subclass)) & (subclass[np.minimum(position, len(subclass) - 1)] == asked[:, 2])
    offered = candidates[np.where(known, position, 0)]
    counts = np.where(known, (offered >= 0).sum(axis=1), 0)
    wanted = query.ravel() * len(products) + bought_product[inside]
    group, place = np.nonzero((offered >= 0) & known[:, None])
    product = offered[group, place]
    bought = np.isin(group * len(products) + np.searchsorted(products, product), wanted)
    found = np.bincount(group, weights=bought, minlength=len(asked)) > 0
    everything = Queries(asked[:, 0], asked[:, 1], asked[:, 2], group.astype(np.int64), product, bought)
    return everything.select(np.flatnonzero((counts >= fewest) & found))


class History:
    """Answers what was known before a day; build it once from all purchases."""

    def __init__(self, purchases: Purchases) -> None:
        self._lines = purchases
        self._products, self._product = np.unique(purchases.product, return_inverse=True)
        self._days = int(purchases.day.max()) + 1
        self._own = _Visits(purchases.customer, purchases.product, purchases)
        self._within = _Visits(purchases.customer, purchases.subclass, purchases)

    def features(self, asked: Queries) -> npt.NDArray[np.float32]:
        """Return the features of every row of *asked*, float32 [rows, len(FEATURES)], columns as in `FEATURES`."""
        group = asked.group
        day = asked.day[group]
        product = np.searchsorted(self._products, asked.product)
        price = self._price(product, day)
        usual_price = _ratio(self._at(self._sales, product, day), self._at(self._pieces, product, day))
        within = self._within.before(asked.customer, asked.subclass, asked.day)
        own = self._own.before(asked.customer[group], asked.product, day)
        sold = {window: self._sold(product, day, window) for window in (1, 3, 7, 28)}
        columns = {
            "own_subclass_purchases": within.visits[group],
            "own_subclass_days_since": within.days_since[group],
            "own_purchases": own.visits,
            "own_days_since": own.days_since,
            "own_share": np.minimum(_fill(_ratio(own.visits, within.visits[group]), 0.0), 1.0),
            "sold_7d": sold[7],
            "sold_28d": sold[28],
            **{f"share_{window}d": _fill(_ratio(lines, _total(lines, group)), 0.0) for window, lines in sold.items()},
            "relative_sales": _fill(_ratio(sold[28], _largest(sold[28], group)), 0.0),
            "discount": _fill(_ratio(price, usual_price), 1.0),
            "relative_price": _fill(_ratio(price, _mean(price, group)), 1.0),
            "own_relative_price": _fill(_ratio(price, within.mean_price[group]), 1.0),
        }
        return np.stack([columns[name] for name in FEATURES], axis=1).astype(np.float32)

    def _sold(self, product: Ints, day: Ints, window: int) -> Floats:
        return self._at(self._sales_lines, product, day) - self._at(self._sales_lines, product, day - window)

    def _price(self, product: Ints, day: Ints) -> Floats:
        """Return the mean price of a piece on the last day before *day* on which it sold, 0 where there is none."""
        last = self._last_sold[product, np.clip(day, 0, self._days)]
        paid = self._at(self._sales, product, last + 1) - self._at(self._sales, product, last)
        pieces = self._at(self._pieces, product, last + 1) - self._at(self._pieces, product, last)
        return _fill(_ratio(paid, pieces), 0.0)

    def _at(self, cumulated: Floats, product: Ints, day: Ints) -> Floats:
        """Return *cumulated* over the days before *day*."""
        return cumulated[product, np.clip(day, 0, self._days)]

    def _cumulated(self, weights: Floats) -> Floats:
        """Return weights per product summed over the days before each day, shape [products, days + 1]."""
        cell = self._product * self._days + self._lines.day
        daily = np.bincount(cell, weights=weights, minlength=len(self._products) * self._days)
        table = np.zeros((len(self._products), self._days + 1))
        np.cumsum(daily.reshape(-1, self._days), axis=1, out=table[:, 1:])
        return table

    @cached_property
    def _sales_lines(self) -> Floats:
        return self._cumulated(np.ones(len(self._lines)))

    @cached_property
    def _sales(self) -> Floats:
        return self._cumulated(self._lines.sales)

    @cached_property
    def _pieces(self) -> Floats:
        return self._cumulated(self._lines.amount.astype(np.float64))

    @cached_property
    def _last_sold(self) -> Ints:
        """The last day before each day on which each product sold, -1 where there is none, [products, days + 1]."""
        sold = np.diff(self._sales_lines, axis=1) > 0
        table = np.full((len(self._products), self._days + 1), -1, dtype=np.int64)
        table[:, 1:] = np.maximum.accumulate(np.where(sold, np.arange(self._days), -1), axis=1)
        return table


@dataclass(frozen=True)
class _Past:
    visits: Floats
    days_since: Floats
    mean_price: Floats


class _Visits:
    """Days on which a customer bought something in a thing (a product, a subclass), to be looked up by day."""

    def __init__(self, customer: Ints, thing: Ints, purchases: Purchases) -> None:
        self._customers = np.unique(customer)
        self._things = np.unique(thing)
        self._span = int(purchases.day.max()) + 2
        keys = self._key(customer, thing, purchases.day)
        self._keys, inverse = np.unique(keys, return_inverse=True)
        self._sales = np.concatenate([[0.0], np.cumsum(np.bincount(inverse, weights=purchases.sales))])
        self._pieces = np.concatenate([[0.0], np.cumsum(np.bincount(inverse, weights=purchases.amount))])

    def before(self, customer: Ints, thing: Ints, day: Ints) -> _Past:
        """Return what each customer had done with each thing before each day; all of one shape."""
        start = np.searchsorted(self._keys, self._key(customer, thing, np.zeros_like(day)))
        end = np.searchsorted(self._keys, self._key(customer, thing, day))
        known = np.isin(customer, self._customers) & np.isin(thing, self._things)
        end = np.where(known, end, start)  # an unknown one's key is somebody else's
        visits = (end - start).astype(np.float64)
        last = self._keys[np.maximum(end - 1, 0)] % self._span
        return _Past(
            visits=visits,
            days_since=np.where(visits > 0, day - last, NEVER),
            mean_price=_ratio(self._sales[end] - self._sales[start], self._pieces[end] - self._pieces[start]),
        )

    def _key(self, customer: Ints, thing: Ints, day: Ints) -> Ints:
        who = np.searchsorted(self._customers, customer)
        what = np.searchsorted(self._things, thing)
        return (who * len(self._things) + what) * self._span + day


def _candidates(purchases: Purchases, before: int, widest: int) -> tuple[Ints, Ints]:
    """Return the subclasses, ascending, and the products of each, most lines first, [subclasses, widest], -1 padded."""
    past = purchases.day < before
    pairs, lines = np.unique(
        np.stack([purchases.subclass[past], purchases.product[past]], axis=1), axis=0, return_counts=True
    )
    pairs = pairs[np.lexsort((pairs[:, 1], -lines, pairs[:, 0]))]
    subclasses, start, row = np.unique(pairs[:, 0], return_index=True, return_inverse=True)
    place = np.arange(len(pairs)) - start[row]
    near = place < widest
    table = np.full((len(subclasses), widest), -1, dtype=np.int64)
    table[row[near], place[near]] = pairs[near, 1]
    return subclasses, table


def _ratio(above: Any, below: Any) -> Floats:
    """Return above / below, NaN where *below* is not positive."""
    below = np.asarray(below, dtype=np.float64)
    quotient = np.full(below.shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def _fill(values: Floats, default: Any) -> Floats:
    return np.where(np.isnan(values), default, values)


def _largest(values: Floats, group: Ints) -> Floats:
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    largest: Floats = np.maximum.reduceat(values, starts)
    return largest[group]


def _total(values: Floats, group: Ints) -> Floats:
    totals: Floats = np.bincount(group, weights=values).astype(np.float64)
    return totals[group]


def _mean(values: Floats, group: Ints) -> Floats:
    return _total(values, group) / np.bincount(group)[group]
