"""Who has a collector: what the settings say, and what the standard's variables do."""

from __future__ import annotations

import pytest

from turnout_server.config import TelemetryConfig
from turnout_server.telemetry.collector import SIGNALS, wanted

URL = "http://127.0.0.1:4317"


@pytest.mark.parametrize(
    ("variables", "endpoint", "expected"),
    [
        ({}, None, []),
        ({}, URL, ["TRACES", "METRICS"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL}, None, ["TRACES", "METRICS"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, None, []),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": URL}, None, ["METRICS"]),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, None, ["TRACES"]),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, None, ["TRACES"]),
        ({"OTEL_METRICS_EXPORTER": "none"}, URL, ["TRACES"]),
        ({"OTEL_SDK_DISABLED": "TRUE"}, URL, []),
    ],
)
def test_a_signal_is_exported_where_a_collector_is_named_and_nothing_forbids_it(
    variables: dict[str, str], endpoint: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = TelemetryConfig(metrics=None, otlp_endpoint=endpoint, sample_ratio=None)
    assert [signal for signal in SIGNALS if wanted(signal, config)] == expected
