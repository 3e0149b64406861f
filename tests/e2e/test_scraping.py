"""Scraping cannot take what serving needs."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil

from tests.e2e.conftest import StartGateway
from tests.e2e.probes import connected, fp32, metrics, unary
from turnout_server.telemetry.http import MOST_CONNECTIONS

INFER = "inference.GRPCInferenceService/ModelInfer"
FILES = 256


def test_more_slow_readers_than_files_lock_nobody_out(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store, within=("prlimit", f"--nofile={FILES}:{FILES}"))
    process = psutil.Process(gateway.pid)
    files, threads = process.num_fds(), process.num_threads()
    assert gateway.metrics is not None
    host, port = gateway.metrics.split(":")
    readers = []
    try:
        for _ in range(2 * FILES):
            readers.append(socket.create_connection((host, int(port)), 30))
            readers[-1].sendall(b"GET /met")
        assert process.num_fds() - files <= MOST_CONNECTIONS + 2
        assert process.num_threads() - threads <= 2
        for _ in range(10):  # connections of their own
            with connected(gateway.address) as channel:
                unary(channel, INFER)(fp32(1.0).SerializeToString(), timeout=30)
        assert metrics(gateway, "turnout_requests_in_flight")
    finally:
        for reader in readers:
            reader.close()
