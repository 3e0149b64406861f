"""What routes are at this moment, as metrics: gateways of a fleet that disagree show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from turnout_server.instruments.families import DIGEST, EPOCH, REVISION, ROUTE, Family, gauge


class Standing(NamedTuple):
    """What routes are."""

    table_digest: str
    """Of the route table that is served; empty where there is none."""
    revision: str
    """Of the table with what experiments' ramps lay over it: the same where that is nothing."""
    epochs: Mapping[str, str]
    """The state of each route."""


class RouteInstruments:
    """Digests as labels of gauges that are 1. There is one of the table and one of each route at a time."""

    def __init__(self, standing: Callable[[], Standing]) -> None:
        """Read *standing*, on any thread."""
        self._standing = standing

    def families(self) -> Iterable[Family]:
        """Return every metric as it is now."""
        digest, revision, epochs = self._standing()
        tables = [((digest, revision), 1)] if digest else []
        return (
            gauge("turnout.route_table.info", "1", _TABLE, (DIGEST, REVISION), tables),
            gauge("turnout.route.info", "1", _ROUTE, (ROUTE, EPOCH), [(route, 1) for route in epochs.items()]),
        )


_TABLE = "1 for the digest of the route table that is served, and of it with what ramps lay over it."
_ROUTE = "1 for the epoch that each route is in: a digest of its salt, targets, weights and resolved versions."
