"""Looks at refusals as a client sees them, and at the server's own counts."""

from __future__ import annotations

import threading
import urllib.request
from types import TracebackType
from typing import Any, Self

import grpc
from google.rpc import error_details_pb2, status_pb2

from benchmarks.overload.results import REFUSED, Copies, Refusals
from benchmarks.processes import METHOD

_EVERY_S = 0.05
_DETAILS = "grpc-status-details-bin"


class Probe:
    """Sends a request now and then with grpcio, and reads what refusals say."""

    def __init__(self, address: str, body: bytes) -> None:
        """Make it, to be entered."""
        self._address = address
        self._body = body
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._seen = 0
        self._with_retry_info = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""
        self._stopped.set()
        self._thread.join()

    def found(self) -> Refusals:
        """Return what there was, once it has ended."""
        return Refusals(seen=self._seen, with_retry_info=self._with_retry_info)

    def _ask(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            while not self._stopped.wait(_EVERY_S):
                try:
                    infer(self._body, timeout=10)
                except grpc.RpcError as error:
                    self._seen += 1
                    trailers: Any = error.trailing_metadata() or ()
                    raw = next((value for key, value in trailers if key == _DETAILS), b"")
                    self._with_retry_info += error.code().name == REFUSED and bool(retry_s(raw))


def retry_s(details: bytes) -> float:
    """Return the delay of the RetryInfo in a serialised `google.rpc.Status`, in seconds; 0 if there is none."""
    delay = error_details_pb2.RetryInfo()
    for detail in status_pb2.Status.FromString(details).details:
        if detail.Unpack(delay):
            return float(delay.retry_delay.seconds + delay.retry_delay.nanos / 1e9)
    return 0.0


def copies(metrics: str) -> Copies:
    """Return what has become of all copies so far, from the Prometheus text at HOST:PORT."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
        return copies_in(answer.read().decode())


def copies_in(text: str) -> Copies:
    """Return what a Prometheus text says of copies."""
    counts = dict.fromkeys(("sent", "dropped", "failed"), 0)
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("turnout_mirrors_total{"):
            for outcome in counts:
                if f'outcome="{outcome}"' in name:
                    counts[outcome] += round(float(value))
    return Copies(**counts)


def less(now: Copies, then: Copies) -> Copies:
    """Return what has become of copies since *then*."""
    return Copies(sent=now.sent - then.sent, dropped=now.dropped - then.dropped, failed=now.failed - then.failed)
