"""Whether there is an OpenTelemetry collector to export to; asked before anything of the SDK is imported."""

from __future__ import annotations

import os

from turnout_server.config import TelemetryConfig

SIGNALS = ("TRACES", "METRICS")
"""What can be exported, as the standard's variables name it."""
_GENERAL_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def wanted(signal: str, config: TelemetryConfig) -> bool:
    """Say whether *signal* (`TRACES` or `METRICS`) is to be exported: a collector is named, and nothing forbids it."""
    if _variable("OTEL_SDK_DISABLED").lower() == "true":
        return False
    exporters = {name.strip() for name in _variable(f"OTEL_{signal}_EXPORTER").split(",")} - {""}
    endpoint = (
        config.otlp_endpoint or _variable(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or _variable(_GENERAL_ENDPOINT)
    )
    # To ask for `otlp` by name is to mean the standard's own default endpoint.
    if exporters:
        return "otlp" in exporters
    return bool(endpoint)


def _variable(name: str) -> str:
    """Return a variable of the environment; an empty one counts as unset, as the standard says."""
    return os.environ.get(name, "").strip()
