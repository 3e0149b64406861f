"""Other servers: the least that one can be, MLServer and KServe, each run as its documentation says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.field import environments
from benchmarks.field.servers import PROGRAMS, Setup, Workshop, launched
from benchmarks.processes import Launch, free_port, paths


def floor(workshop: Workshop) -> Launch:
    """Return what starts the bare server."""
    port = free_port()
    command = [sys.executable, str(PROGRAMS / "bare_server.py"), str(workshop.models), str(port)]
    return Launch(command, port, paths("server"))


def _mlserver(workers: int, batch: int = 0) -> Callable[[Workshop], Launch]:
    def launch(workshop: Workshop) -> Launch:
        python = environments.python_of("mlserver", workshop.environments)
        port = free_port()
        home = workshop.directory / f"mlserver-{workers}-{batch}"
        settings = {
            "host": "127.0.0.1",
            "http_port": free_port(),
            "grpc_port": port,
            "debug": False,
            "metrics_endpoint": None,
            "parallel_workers": workers,
        }
        _write_json(home / "settings.json", settings)
        for path in workshop.models.glob("*.onnx"):
            model: dict[str, object] = {
                "name": path.stem,
                "implementation": "mlserver_runtime.OnnxModel",
                "parameters": {"uri": str(path)},
            }
            if batch and path.stem != "recommendation":  # its requests have different widths, and `k` has no rows
                model |= {"max_batch_size": batch, "max_batch_time": 0.001}
            _write_json(home / path.stem / "model-settings.json", model)
        command = [str(python.parent / "mlserver"), "start", str(home)]
        return Launch(command, port, {"PYTHONPATH": str(PROGRAMS)}, home)

    return launch


def _kserve(*options: str) -> Callable[[Workshop], Launch]:
    def launch(workshop: Workshop) -> Launch:
        python = environments.python_of("kserve", workshop.environments)
        port = free_port()
        arguments = [
            *("--directory", str(workshop.models), *options),
            *("--grpc_port", str(port), "--http_port", str(free_port())),
            *("--workers", "1", "--enable_latency_logging", "false"),
        ]
        command = [str(python), str(PROGRAMS / "kserve_server.py"), *arguments]
        return Launch(command, port, {"KSERVE_LOGLEVEL": "WARNING"})

    return launch


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")


LOCKED = ("mlserver", "kserve")
"""Those that have an environment of their own."""
_QUIET_MLSERVER = "debug off (no access log), metrics endpoint off"
_QUIET_KSERVE = "one worker, latency log off, log level WARNING"

SETUPS: Mapping[str, tuple[Setup, ...]] = {
    "floor": (Setup("floor", "", "bare grpc.aio handler on uvloop; checks, counts and logs nothing", launched(floor)),),
    "mlserver": (
        Setup("mlserver", "inline", f"parallel_workers 0; {_QUIET_MLSERVER}", launched(_mlserver(0))),
        Setup("mlserver", "worker", f"parallel_workers 1, the default; {_QUIET_MLSERVER}", launched(_mlserver(1))),
        Setup(
            "mlserver",
            "batching",
            f"parallel_workers 0, adaptive batching of 32 rows within 1 ms, but for recommendation; {_QUIET_MLSERVER}",
            launched(_mlserver(0, 32)),
        ),
    ),
    "kserve": (
        Setup("kserve", "asyncio", f"the event loop it starts with; {_QUIET_KSERVE}", launched(_kserve())),
        Setup("kserve", "uvloop", f"uvloop installed before it starts; {_QUIET_KSERVE}", launched(_kserve("--uvloop"))),
    ),
}
