"""What the process says of itself: logs, traces and metrics, set up in one place and taken down in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from turnout_server.config import TelemetryConfig
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.instruments import Instruments
from turnout_server.telemetry.collector import SIGNALS, wanted
from turnout_server.telemetry.logs import logging_to_stderr
from turnout_server.telemetry.prometheus import serving_metrics


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the rest of the process reports to."""

    instruments: Instruments
    spans: Spans
    metrics_address: str | None
    """HOST:PORT where Prometheus text is served, with the port that was really taken; None for nowhere."""


@contextmanager
def telemetry(config: TelemetryConfig, version: str = "") -> Iterator[Telemetry]:
    """Set up logs, traces and metrics; on leaving, send what is left, within a few seconds, and take it all down.

    Args:
        config: what to set up.
        version: of Turnout, for whoever reads the telemetry.

    Raises:
        ConfigurationError: the metrics address cannot be listened on, or an `OTEL_*` variable is wrong.
    """
    instruments = Instruments()
    with ExitStack() as stack:
        instruments.include(stack.enter_context(logging_to_stderr(config.log_level, config.log_format)))
        spans = Spans()
        if any(wanted(signal, config) for signal in SIGNALS):
            # Only who has a collector pays for OpenTelemetry's SDK: a tenth of the start, and some 4 MB.
            from turnout_server.telemetry.otlp import exporting

            spans = stack.enter_context(exporting(config, instruments, version))
        address = None
        if config.metrics is not None:
            address = stack.enter_context(serving_metrics(config.metrics, instruments, version))
        yield Telemetry(instruments, spans, address)
