"""Metrics as Prometheus text, over HTTP on a port of their own."""

from __future__ import annotations

import os
import platform
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate

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
from turnout_server.telemetry.http import HttpServer
from turnout_server.telemetry.http_text import Answer, Request
from turnout_server.vocabulary.errors import ConfigurationError

_BACKLOG = 16
"""How many clients may wait to be let in."""
_PATIENCE_S = 1.0
"""How long an answer that is being made is waited for at the end."""
_HEALTH = "/healthz"
_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)


@contextmanager
def serving_metrics(address: str, instruments: Readable, version: str = "") -> Iterator[str]:
    """Serve `/metrics` and `/healthz` at *address* from a thread; yield the address with the port really taken.

    Raises:
        ConfigurationError: the address is malformed or cannot be listened on.
    """
    host, port = parse_address(address, "metrics")
    try:
        listener = _listening((host, port))
    except OSError as error:
        number = error.errno or 0  # below 0 for a host that does not exist
        problem = os.strerror(number) if number > 0 else error.strerror or str(error)
        raise ConfigurationError(f"metrics: cannot listen on {address}: {problem}") from error
    port = listener.getsockname()[1]
    server = HttpServer(listener, _answering(registry(instruments, version)), light=[_HEALTH])
    thread = threading.Thread(target=server.run, name="metrics", daemon=True)
    thread.start()
    try:
        yield format_address(host, port)
    finally:
        server.stop()
        thread.join(_PATIENCE_S)


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


def _listening(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=_BACKLOG)


def _answering(metrics: CollectorRegistry) -> Callable[[Request], Answer]:
    scrape = make_wsgi_app(metrics)

    def answer(request: Request) -> Answer:
        match request.path:
            case "/metrics":
                return _asked(scrape, request)
            case _ if request.path == _HEALTH:
                return Answer("200 OK", _TEXT, b"ok\n")
            case _:
                return Answer("404 Not Found", _TEXT, b"there are /metrics and /healthz\n")

    return answer


def _asked(app: Callable[..., Iterable[bytes]], request: Request) -> Answer:
    """Return what a WSGI application answers, which is how the Prometheus client has its exposition."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []
    given = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query,
        "HTTP_ACCEPT": request.headers.get("accept", ""),
        "HTTP_ACCEPT_ENCODING": request.headers.get("accept-encoding", ""),
    }
    body = b"".join(app(given, lambda status, headers: begun.append((status, headers))))
    status, headers = begun[0]
    return Answer(status, tuple(headers), body)
