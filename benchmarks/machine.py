"""The machine that a benchmark runs on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil


def facts() -> dict[str, str]:
    """Return what figures depend on."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "processor": f"{processor}, {len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "ONNX Runtime": metadata.version("onnxruntime"),
        "grpcio": metadata.version("grpcio"),
        "load average before": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def busy_s() -> float:
    """Return the CPU seconds that the machine has spent on anything, those taken by other machines included."""
    times = psutil.cpu_times()._asdict()
    return float(sum(times.get(kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal")))
