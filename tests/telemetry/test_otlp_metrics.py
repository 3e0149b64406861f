"""Families as OTLP data."""

from __future__ import annotations

from opentelemetry.sdk.metrics.export import Gauge, Histogram, Sum

from turnout_server.instruments import families
from turnout_server.instruments.families import MODEL, ROUTE, Buckets
from turnout_server.telemetry.otlp_metrics import metric_of


def test_a_counter_is_a_sum_that_only_grows() -> None:
    family = families.counter("turnout.requests", "{request}", "Requests.", (ROUTE, MODEL), [(("r", "m"), 7)])
    metric = metric_of(family._replace(common=(("rpc.system.name", "grpc"),)), 10, 20)
    assert (metric.name, metric.unit, metric.description) == ("turnout.requests", "{request}", "Requests.")
    assert isinstance(metric.data, Sum)
    assert metric.data.is_monotonic
    (point,) = metric.data.data_points
    assert (point.value, point.start_time_unix_nano, point.time_unix_nano) == (7, 10, 20)
    assert point.attributes == {"turnout.route": "r", "turnout.model.name": "m", "rpc.system.name": "grpc"}


def test_a_gauge_comes_and_goes() -> None:
    data = metric_of(families.gauge("turnout.g", "1", "", (), [((), 3)]), 10, 20).data
    assert isinstance(data, Gauge)
    assert [point.value for point in data.data_points] == [3]


def test_a_histogram_has_all_its_buckets_and_their_sum() -> None:
    family = families.histogram("turnout.h", "s", "", (ROUTE,), [(("r",), Buckets((0.1, 1.0), (3, 0, 2), 9.5))])
    data = metric_of(family, 10, 20).data
    assert isinstance(data, Histogram)
    (point,) = data.data_points
    assert (point.count, point.sum, list(point.bucket_counts)) == (5, 9.5, [3, 0, 2])
    assert list(point.explicit_bounds) == [0.1, 1.0]
