"""`turnout serve`."""

from __future__ import annotations

import contextlib
import enum
import faulthandler
import os
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from turnout_server import config
from turnout_server.cli import options
from turnout_server.cli.importing import importing

_STDOUT, _STDERR = 1, 2
_LIMITS = "Limits and permissions"
_LOGS = "Logs, traces and metrics"


class LogLevel(enum.StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class DataPlane(enum.StrEnum):
    """What carries inferences."""

    AUTO = "auto"
    ENGINE = "engine"
    PYTHON = "python"


class LogFormat(enum.StrEnum):
    """How logs look."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


def serve(
    store: Annotated[
        str | None,
        typer.Option(
            "--store", "-s", envvar="TURNOUT_STORE", metavar="DIR", help="The model store; model_store by default."
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where gRPC listens; 127.0.0.1:8001 by default, port 0 for a free one."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT|off", help="Where Prometheus text is served; 127.0.0.1:9464 by default."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="YAML with settings; options win over it.")
    ] = None,
    routes: Annotated[
        str | None, typer.Option(metavar="FILE", help="A route table to use in place of the store's.")
    ] = None,
    data_plane: Annotated[
        DataPlane | None,
        typer.Option(help="What carries inferences; auto, the default, is the engine where it is installed."),
    ] = None,
    allow_changes: Annotated[
        bool | None,
        typer.Option(
            "--allow-changes/--no-allow-changes",
            help="Let clients move labels, replace the route table, load and unload models.",
            show_default=False,
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="How long calls may take to finish after SIGTERM; 30.", rich_help_panel=_LIMITS
        ),
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="The lowest level that is logged; info.", rich_help_panel=_LOGS)
    ] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(help="How logs look; auto is console on a terminal, else json.", rich_help_panel=_LOGS),
    ] = None,
    otlp: Annotated[
        str | None,
        typer.Option("--otlp", metavar="URL", help="A collector's OTLP/gRPC address.", rich_help_panel=_LOGS),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PATH=VALUE", help="Any setting of the config file, such as limits.queue_rows=100."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Say in one line of JSON that the gateway has started.")] = False,
) -> None:
    """Serve a store's models over gRPC until SIGTERM or Ctrl-C.

    Settings come from options, then environment variables, then the file, then defaults. On SIGTERM calls in progress
    finish before the process exits with 0.
    """
    given: dict[str, Any] = {
        "store.path": store,
        "store.routes": routes,
        "listen": listen,
        "data_plane": data_plane and data_plane.value,
        "telemetry.metrics": metrics,
        "telemetry.log_level": log_level and log_level.value,
        "telemetry.log_format": log_format and log_format.value,
        "telemetry.otlp_endpoint": otlp,
        "allow_changes": allow_changes,
        "grace_s": grace,
    }
    overrides = {path: value for path, value in given.items() if value is not None}
    overrides |= {path: _yaml(text) for path, text in options.pairs(settings or [], "--set").items()}
    if metrics == "off":
        overrides["telemetry.metrics"] = None
    settled = config.load(file, overrides)

    faulthandler.enable(_STDERR)  # a crash in native code says what each thread was doing

    # ONNX Runtime, gRPC and OpenTelemetry: after the arguments were found to be in order.
    with importing():
        from turnout_server import app
        from turnout_server.cli import greeting

    def started(gateway: app.Started) -> None:
        lines = greeting.as_json(gateway) if json else greeting.as_text(gateway, Path(settled.store.path))
        # In a thread that nobody waits for: whoever started the gateway may not read.
        threading.Thread(target=_say, args=[lines], name="greeting", daemon=True).start()

    app.run(settled, started)


def _say(lines: str) -> None:
    """Write to stdout, past Python's own file: that is flushed at the end, which would wait for its lock."""
    # Whoever started the gateway may be gone, or its terminal closed: serving goes on.
    with contextlib.suppress(OSError):
        left = memoryview(f"{lines}\n".encode(errors="backslashreplace"))
        while left:
            left = left[os.write(_STDOUT, left) :]


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except config.NOT_YAML:
        return text
