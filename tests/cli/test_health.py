"""`turnout health`, which containers run every few seconds."""

from __future__ import annotations

import subprocess
import sys

from tests.e2e.conftest import environment


def python(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


def test_health_imports_nothing_heavy() -> None:
    """A container runs it every few seconds."""
    code = (
        "import sys; from turnout_server.cli.application import run; run(['health', '--target', '127.0.0.1:1']); "
        "print({'duckdb', 'onnx', 'onnxruntime', 'numpy', 'opentelemetry', 'structlog', 'rich'} & sys.modules.keys())"
    )
    assert python("-c", code).stdout == "set()\n"
