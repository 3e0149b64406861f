"""What callers make the gateway hold stays within `limits.memory_bytes`, over all connections, as the system sees."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from benchmarks.attack.wire import INFER, OPENING, head
from benchmarks.frames import DATA, SETTINGS, WINDOW_UPDATE, frame, whole
from tests.e2e.conftest import DATA_PLANE, StartGateway
from tests.e2e.probes import connected, eventually, fp32, infer, metrics, usage

MIB = 1024 * 1024
BUDGET_MIB = 8
CONNECTIONS, STREAMS, SENT = 10, 40, 60_000
"""23 MiB in all, of messages that never end."""
GROWTH_MIB = BUDGET_MIB + 8.0
"""Half of the budget is for calls; the rest is connections, what allocators keep, and Python's part of the calls.
If the messages were held, it would be more than 23."""
HALF = (b"\0" + (200_000).to_bytes(4, "big") + bytes(SENT))[:SENT]
REFUSED = (("cause", "memory"),)


def attacked(address: str) -> socket.socket:
    """Connect, and send as many messages as may be on their way, none of them whole."""
    host, port = address.split(":")
    client = socket.create_connection((host, int(port)), 30)
    client.sendall(OPENING)
    heard = b""
    while not any(one.kind == WINDOW_UPDATE for one, _ in whole(heard)):
        heard += client.recv(65_536)
    client.sendall(frame(SETTINGS, 1, 0))
    for stream in range(1, 2 * STREAMS, 2):
        pieces = [HALF[at : at + 16_000] for at in range(0, SENT, 16_000)]
        client.sendall(head(stream, INFER) + b"".join(frame(DATA, 0, stream, piece) for piece in pieces))
    return client


@pytest.mark.skipif(DATA_PLANE == "python", reason="without the engine nothing of it is counted")
def test_half_messages_of_many_connections_stay_within_the_budget(
    tiny_store: Path, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(tiny_store, "--set", f"limits.memory_bytes={BUDGET_MIB * MIB}")
    with connected(gateway.address) as channel:
        request = fp32(1.0, 2.0)
        infer(channel, model_name=request.model_name, inputs=request.inputs)
        before = usage(gateway)
        clients = [attacked(gateway.address) for _ in range(CONNECTIONS)]
        refused = eventually(lambda: metrics(gateway, "turnout_transport_refusals_total").get(REFUSED, 0) or None)
        assert refused > CONNECTIONS
        assert usage(gateway).rss_mib < before.rss_mib + GROWTH_MIB
        assert infer(channel, model_name=request.model_name, inputs=request.inputs).outputs
        for client in clients:
            client.close()
