"""Structured logs: JSON lines on stderr, or a readable form on a terminal, from structlog and from `logging` alike."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

LIBRARY_SILENCE_S = 60.0
"""An OpenTelemetry logger that has spoken keeps still for this long."""


@contextmanager
def logging_to_stderr(
    level: str = "info", format: Literal["auto", "json", "console"] = "auto", stream: TextIO | None = None
) -> Iterator[None]:
    """Send all logs of the process to stderr, one event a line; on leaving, put everything back.

    Args:
        level: the lowest level that is shown.
        format: `auto` is `console` on a terminal and `json` elsewhere.
        stream: where to, in place of stderr.
    """
    stream = stream or sys.stderr
    console = format == "console" or (format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace_ids,
    ]
    handler = logging.StreamHandler(stream)
    handler.addFilter(_Seldom())
    handler.addFilter(_not_a_client_that_left)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(console, stream)],
        )
    )
    root = logging.getLogger()
    before = root.handlers, root.level, structlog.get_config()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers = before[0]
        root.setLevel(before[1])
        structlog.configure(**before[2])


def add_trace_ids(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add the current span's `trace_id` and `span_id`, in hexadecimal, if there is one."""
    current = trace.get_current_span().get_span_context()
    if current.is_valid:
        event["trace_id"] = trace.format_trace_id(current.trace_id)
        event["span_id"] = trace.format_span_id(current.span_id)
    return event


def _renderers(console: bool, stream: TextIO) -> list[Processor]:
    if console:
        return [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            )
        ]
    # Without locals: they hold what callers sent.
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(frames),
        _lead_with_the_usual,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _lead_with_the_usual(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put what every event has before what only this one has, for people who read JSON."""
    usual = {key: event[key] for key in ("timestamp", "level", "logger", "event") if key in event}
    return {**usual, **event}


def _not_a_client_that_left(record: logging.LogRecord) -> bool:
    """Say whether *record* is shown: what gRPC logs when a client goes while it is written to is no error of ours."""
    return not (record.name.startswith("grpc._cython") and str(record.msg).startswith("ExecuteBatchError raised"))


class _Seldom(logging.Filter):
    """Lets each OpenTelemetry logger through once a minute.

    A collector that is down, and a caller whose `tracestate` is wrong, would otherwise fill the log.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._spoke: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether *record* is shown."""
        if not record.name.startswith("opentelemetry."):
            return True
        now = self._clock()
        if now - self._spoke.get(record.name, -LIBRARY_SILENCE_S) < LIBRARY_SILENCE_S:
            return False
        self._spoke[record.name] = now
        return True
