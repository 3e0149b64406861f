"""The command line: arguments in, the same library that everything else uses, tables or JSON out.

Commands import what they need when they run, not at the top: ONNX Runtime, gRPC and the telemetry libraries take most
of a second to import. A container's health check runs every few seconds: it is answered before any command is imported.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than a health check may
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

MISSING = "the turnout command needs the server's dependencies: pip install 'THE_WHEEL[server]', see docs/install.md"
MISSING_EXIT = 69
"""`exits.UNAVAILABLE`, which cannot be imported where its package's dependencies are missing."""


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    # gRPC's core writes lines of its own to stderr; what goes wrong is said in one line, by whoever met it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if os.getpid() == 1:
        # A container's first process does not get what it has no handler for: whoever stopped it while it imports and
        # starts would wait until their patience ends. A gateway that serves has a handler of its own.
        import signal

        signal.signal(signal.SIGTERM, _end)
    if sys.argv[1:2] == ["health"]:
        from turnout_server.cli.probe import quickly

        code = quickly(sys.argv[2:])
        if code is not None:
            sys.exit(code)
    from turnout_server.cli.importing import importing

    try:
        with importing():
            from turnout_server.cli.application import run
    except ModuleNotFoundError as error:
        if is_ours(error):
            raise
        print(f"turnout: error: {MISSING} ({error.name} is missing)", file=sys.stderr)
        sys.exit(MISSING_EXIT)
    sys.exit(run(sys.argv[1:]))


def _end(number: int, _: FrameType | None) -> NoReturn:
    os._exit(128 + number)  # at once, as any other process ends of it; `sys.exit` would be caught on the way


def is_ours(error: ModuleNotFoundError) -> bool:
    """Say whether the module that is missing is Turnout's own, which no installing will bring."""
    return (error.name or "turnout").partition(".")[0] in ("turnout", "turnout_server")
