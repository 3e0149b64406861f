"""The transport's numbers as metrics."""

from __future__ import annotations

from turnout_server.instruments.transport import TransportMetrics


def test_what_is_known_is_shown_and_nothing_else() -> None:
    counts = {
        "connections": 3,
        "accepted": 5,
        "evicted": 1,
        "refused": 0,
        "refusal.values": 2,
        "goaway.calm": 4,
        "memory.taken": 9,
    }
    found = {family.prometheus: dict(family.points) for family in TransportMetrics(lambda: counts).families()}
    assert found == {
        "turnout_transport_connections_open": {(): 3},
        "turnout_transport_memory_taken": {(): 9},
        "turnout_transport_connections": {("accepted",): 5, ("refused",): 0, ("evicted",): 1},
        "turnout_transport_goaways": {("calm",): 4},
        "turnout_transport_refusals": {("values",): 2},
    }
