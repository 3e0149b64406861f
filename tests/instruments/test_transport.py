"""The transport's numbers as metrics."""

from __future__ import annotations

from turnout_server.instruments.families import Buckets
from turnout_server.instruments.transport import LAG, TransportMetrics


def test_what_is_known_is_shown_and_nothing_else() -> None:
    counts = {
        "connections": 3,
        "accepted": 5,
        "evicted": 1,
        "refused": 0,
        "refusal.values": 2,
        "goaway.calm": 4,
        "memory.taken": 9,
        **dict.fromkeys(LAG, 0),
        "lag.4": 2,
        "lag.9": 1,
        "lag.sum": 1_500_000_000,
    }
    found = {family.prometheus: dict(family.points) for family in TransportMetrics(lambda: counts).families()}
    assert found == {
        "turnout_transport_connections_open": {(): 3},
        "turnout_transport_lag_seconds": {
            (): Buckets((0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5), (0, 0, 0, 0, 2, 0, 0, 0, 0, 1), 1.5)
        },
        "turnout_transport_memory_taken": {(): 9},
        "turnout_transport_connections": {("accepted",): 5, ("refused",): 0, ("evicted",): 1},
        "turnout_transport_goaways": {("calm",): 4},
        "turnout_transport_refusals": {("values",): 2},
    }
