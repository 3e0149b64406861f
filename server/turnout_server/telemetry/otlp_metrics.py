"""The instruments as OTLP metrics.

The SDK's own histograms cannot be filled from outside: they want one call an observation, which is what the hot path
avoids. So the instruments' buckets are turned into data points, exactly as they are, and added to each export on its
way out. What drives the exports (the interval, the last one at the end) is the SDK's reader, which asks for at least
one instrument of its own: the process's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import ProcessCollector

from turnout_server.instruments.families import Buckets, Family, Kind, Labels, Readable

_SCOPE = InstrumentationScope("turnout")
_CUMULATIVE = AggregationTemporality.CUMULATIVE


class WithInstruments(MetricExporter):
    """Passes exports on, with the instruments added."""

    def __init__(self, exporter: MetricExporter, instruments: Readable) -> None:
        super().__init__()
        self._exporter = exporter
        self._instruments = instruments
        self._started_ns = time.time_ns()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Export *metrics_data* and the instruments as they are now."""
        first, *others = metrics_data.resource_metrics
        metrics = [metric_of(family, self._started_ns, time.time_ns()) for family in self._instruments.families()]
        ours = ScopeMetrics(_SCOPE, [metric for metric in metrics if metric.data.data_points], "")
        more = replace(first, scope_metrics=[*first.scope_metrics, ours])
        return self._exporter.export(MetricsData([more, *others]), timeout_millis=timeout_millis)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Pass it on."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Pass it on."""
        self._exporter.shutdown(timeout_millis)


def metric_of(family: Family, started_ns: int, now_ns: int) -> Metric:
    """Turn *family* into cumulative OTLP data.

    Args:
        family: as read from the instruments.
        started_ns: when counting began, in nanoseconds since the epoch.
        now_ns: when it was read, likewise.
    """
    if family.kind is Kind.HISTOGRAM:
        points = [
            _histogram_point(_attributes(family, labels), buckets, started_ns, now_ns)
            for labels, buckets in family.points
            if isinstance(buckets, Buckets)
        ]
        return Metric(family.name, family.help, family.unit, Histogram(points, _CUMULATIVE))
    numbers = [
        NumberDataPoint(_attributes(family, labels), started_ns, now_ns, value)
        for labels, value in family.points
        if isinstance(value, int)
    ]
    data = Gauge(numbers) if family.kind is Kind.GAUGE else Sum(numbers, _CUMULATIVE, is_monotonic=True)
    return Metric(family.name, family.help, family.unit, data)


def _attributes(family: Family, labels: Labels) -> dict[str, str | int]:
    ours = {label.attribute: value for label, value in zip(family.labels, labels, strict=True)}
    return ours | dict(family.common)


def _histogram_point(
    attributes: dict[str, str | int], buckets: Buckets, started_ns: int, now_ns: int
) -> HistogramDataPoint:
    unknown = cast(float, None)  # the least and the greatest are optional in OTLP, though not in this class's types
    return HistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=started_ns,
        time_unix_nano=now_ns,
        count=sum(buckets.counts),
        sum=buckets.sum,
        bucket_counts=buckets.counts,
        explicit_bounds=buckets.bounds,
        min=unknown,
        max=unknown,
    )


def observe_process(provider: MeterProvider) -> None:
    """Let *provider* report the process's age, and where the system tells, its CPU time, memory and open files."""
    meter = provider.get_meter("turnout.process")  # not the instruments' scope: the encoder keeps one of a name
    started = time.monotonic()
    collector = ProcessCollector(registry=None)

    def read(sample: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(options: CallbackOptions) -> Iterable[Observation]:
            samples = (each for metric in collector.collect() for each in metric.samples)
            return [Observation(each.value) for each in samples if each.name == sample]

        return callback

    meter.create_observable_gauge(
        "process.uptime", [lambda options: [Observation(time.monotonic() - started)]], "s", "Age of the process."
    )
    meter.create_observable_counter("process.cpu.time", [read("process_cpu_seconds_total")], "s", "CPU time used.")
    meter.create_observable_up_down_counter(
        "process.memory.usage", [read("process_resident_memory_bytes")], "By", "Resident memory."
    )
    meter.create_observable_up_down_counter(
        "process.unix.file_descriptor.count", [read("process_open_fds")], "{file_descriptor}", "Open files."
    )
