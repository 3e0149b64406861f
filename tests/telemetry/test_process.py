"""What a whole process says, and what it leaves registered."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SCRIPT = """
import json, sys, threading
import structlog
from opentelemetry import trace
from turnout_server.config import TelemetryConfig
from turnout_server.telemetry import telemetry

endpoint = sys.argv[1] or None
for _ in range(2):
    with telemetry(TelemetryConfig(metrics="127.0.0.1:0", otlp_endpoint=endpoint)) as set_up:
        threads = sorted(thread.name for thread in threading.enumerate())
        set_up.spans.end(set_up.spans.start("a.B/C", {}), "OK")
        if endpoint:
            with trace.get_tracer("somebody.else").start_as_current_span("theirs"):
                structlog.get_logger("turnout").info("inside")
sdk = sorted(name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")))
print(json.dumps({"threads": threads, "provider": type(trace.get_tracer_provider()).__name__, "sdk": sdk}))
"""


def run(endpoint: str) -> tuple[dict[str, Any], str]:
    path = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, endpoint],
        env=path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout), done.stderr


def test_without_a_collector_a_process_is_quiet_and_has_two_threads_more_and_no_sdk() -> None:
    said, log = run("")
    assert said == {"threads": ["MainThread", "logs", "metrics"], "provider": "ProxyTracerProvider", "sdk": []}
    assert log == ""


def test_with_a_collector_libraries_of_the_process_are_traced_too(collector: Any) -> None:
    said, log = run(collector.url)
    assert said["provider"] == "TracerProvider"
    assert {"a.B/C", "theirs"} <= set(collector.spans)
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["event"] for line in lines][:1] == ["inside"]
    assert bytes.fromhex(lines[0]["trace_id"]) == collector.spans["theirs"].trace_id
    assert not [line for line in lines if "Overriding" in line["event"]]
