"""Runs a benchmark: `python -m benchmarks NAME [arguments]`. `python -m benchmarks NAME --help` lists its arguments."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

MODULES = {
    "attack": "benchmarks.attack.command",
    "experiments": "benchmarks.experiments.command",
    "field": "benchmarks.field.command",
    "hotpath": "benchmarks.hotpath",
    "overload": "benchmarks.overload.command",
    "reload": "benchmarks.reload.command",
}
"""Where each benchmark's `main(arguments) -> exit code` is."""


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark that *arguments* name first, with the rest of them; return the exit code."""
    if not arguments or arguments[0] not in MODULES:
        print(f"usage: python -m benchmarks {{{','.join(MODULES)}}} [arguments]", file=sys.stderr)
        return 2
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    name, *rest = arguments
    code: int = importlib.import_module(MODULES[name]).main(rest)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
