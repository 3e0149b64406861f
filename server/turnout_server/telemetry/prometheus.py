"""Metrics as Prometheus text, over HTTP on a port of their own."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from socket import AF_INET6
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from turnout_server.config import format_address, parse_address
from turnout_server.instruments.families import Buckets, Family, Kind, Readable
from turnout_server.vocabulary.errors import ConfigurationError

_log = structlog.get_logger("turnout.metrics")
_PATIENCE_S = 10.0
"""How long a client may take to send its request."""


@contextmanager
def serving_metrics(address: str, instruments: Readable, version: str = "") -> Iterator[str]:
    """Serve `/metrics` and `/healthz` at *address* from a thread; yield the address with the port really taken.

    Raises:
        ConfigurationError: the address is malformed or cannot be listened on.
    """
    host, port = parse_address(address, "metrics")
    try:
        server = _Server((host, port), registry(instruments, version))
    except OSError as error:
        problem = error.strerror or str(error)
        raise ConfigurationError(f"metrics: cannot listen on {address}: {problem}") from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
    thread.start()
    try:
        yield format_address(host, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def registry(instruments: Readable, version: str = "") -> CollectorRegistry:
    """Return what is served: the instruments, the process's memory, CPU and files, and the build."""
    served = CollectorRegistry(auto_describe=False)
    served.register(_Instruments(instruments, version))
    ProcessCollector(registry=served)
    return served


class _Instruments(Collector):
    """Reads the instruments whenever somebody scrapes."""

    def __init__(self, instruments: Readable, version: str) -> None:
        self._instruments = instruments
        self._build = {"version": version, "python": platform.python_version()}

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("turnout_build", "What is running.", value=self._build)
        for family in self._instruments.families():
            yield _metric(family)


def _metric(family: Family) -> Metric:
    labels = [label.name for label in family.labels]
    metric: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    match family.kind:
        case Kind.COUNTER:
            metric = CounterMetricFamily(family.prometheus, family.help, labels=labels)
        case Kind.GAUGE:
            metric = GaugeMetricFamily(family.prometheus, family.help, labels=labels)
        case Kind.HISTOGRAM:
            metric = HistogramMetricFamily(family.prometheus, family.help, labels=labels)
    for values, value in family.points:
        texts = [str(value) for value in values]
        if isinstance(metric, HistogramMetricFamily):
            assert isinstance(value, Buckets)
            metric.add_metric(texts, _cumulated(value), value.sum)
        else:
            assert isinstance(value, int)
            metric.add_metric(texts, value)
    return metric


def _cumulated(buckets: Buckets) -> list[tuple[str, int]]:
    """Return Prometheus's buckets: each counts all observations up to its bound."""
    bounds = (*map(str, buckets.bounds), "+Inf")
    return list(zip(bounds, accumulate(buckets.counts), strict=True))


class _Server(ThreadingMixIn, WSGIServer):
    """A small HTTP server, a thread a connection."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], metrics: CollectorRegistry) -> None:
        if ":" in address[0]:
            self.address_family = AF_INET6
        super().__init__(address, _Handler)
        self.set_app(_app(metrics))

    def server_bind(self) -> None:
        """Bind, without the lookup of the host's name that the base class makes, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a client's hanging up raises, rather than print a traceback."""
        _log.debug("a request for metrics failed", exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: scrapes are no events."""


Start = Callable[[str, list[tuple[str, str]]], object]


def _app(metrics: CollectorRegistry) -> Callable[[dict[str, Any], Start], Iterable[bytes]]:
    scrape = make_wsgi_app(metrics)

    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                answer: Iterable[bytes] = scrape(environ, start)
                return answer
            case "/healthz":
                status, body = "200 OK", b"ok\n"
            case _:
                status, body = "404 Not Found", b"there are /metrics and /healthz\n"
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [body]

    return app
