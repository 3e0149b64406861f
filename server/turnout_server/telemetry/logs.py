"""Structured logs: JSON lines on stderr, or a readable form on a terminal, from structlog and from `logging` alike."""

from __future__ import annotations

import logging
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Literal, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from turnout_server.instruments.families import CAUSE, Family, counter
from turnout_server.telemetry.log_writer import LogWriter, UnwrittenError
from turnout_server.telemetry.repetitions import IS_COUNT, Repetitions

_log = structlog.get_logger("turnout.logs")
_STDERR = 2
_LEFT_OUT = (
    "Lines that the log does not have: too many waited for a reader, they could not be written, "
    "or they said the same as one before."
)
LIBRARY_SILENCE_S = 60.0
"""An OpenTelemetry logger that has spoken keeps still for this long."""
QUIET_S = 5.0
"""For so long a start says on a terminal only what is amiss, unless the greeting comes first."""
CLOSING_S = 1.0
"""How long the last lines may take to be written."""


class LeftOut:
    """The lines that the log does not have, for who collects metrics."""

    def __init__(self, writer: LogWriter, repetitions: Repetitions) -> None:
        self._writer = writer
        self._repetitions = repetitions

    def families(self) -> Iterable[Family]:
        """Return how many there were, by cause."""
        writer, repeated = self._writer, self._repetitions.left_out
        points = [(("full",), writer.dropped), (("unwritten",), writer.unwritten), (("repeated",), repeated)]
        yield counter("turnout.log.lines_left_out", "{line}", _LEFT_OUT, (CAUSE,), points)


@contextmanager
def logging_to_stderr(
    level: str = "info", format: Literal["auto", "json", "console"] = "auto", stream: TextIO | None = None
) -> Iterator[LeftOut]:
    """Send all logs of the process to stderr, one event a line; on leaving, put everything back.

    A thread of its own writes them, so that a pipe that nobody reads holds up nobody; on leaving it has `CLOSING_S`
    seconds for what is left. Yield what counts the lines that were left out.

    On a terminal, and at level `info`, what is lower than a warning is shown from `speak_up` on, or after `QUIET_S`.

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
    repetitions = Repetitions()
    with ExitStack() as stack:
        write, release = stack.enter_context(_writing(stream))
        writer = LogWriter(write, lambda lost: _catch_up(lost, repetitions))
        stack.callback(lambda: release() if writer.close(CLOSING_S) else None)
        handler = _Queued(writer)
        handler.addFilter(_Seldom())
        handler.addFilter(_not_a_client_that_left)
        handler.addFilter(repetitions)
        if console and stream.isatty() and level == "info":
            handler.addFilter(_Reticent())
        stack.enter_context(_installed(handler, shared, level, _renderers(console, stream)))
        stack.callback(_show, repetitions, all_of_them=True)
        yield LeftOut(writer, repetitions)


def flush(within_s: float) -> None:
    """Wait until the log is written, *within_s* seconds at most."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Queued):
            handler.writer.flush(within_s)


def speak_up() -> None:
    """Show on a terminal what is lower than a warning, too: the start is over."""
    for handler in logging.getLogger().handlers:
        for each in handler.filters:
            if isinstance(each, _Reticent):
                handler.removeFilter(each)


@contextmanager
def _installed(
    handler: logging.Handler, shared: list[Processor], level: str, renderers: list[Processor]
) -> Iterator[None]:
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _without_marks, *renderers],
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


class _Queued(logging.Handler):
    """Hands lines to the writer."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.put(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


def _catch_up(lost: int, repetitions: Repetitions) -> None:
    if lost:
        # However few levels are shown: it was those that are.
        level = max(logging.WARNING, logging.getLogger().level)
        _log.log(
            level,
            "log lines were dropped: nobody read them, or they could not be written",
            count=lost,
            **{IS_COUNT: True},
        )
    _show(repetitions, all_of_them=False)


def _show(repetitions: Repetitions, *, all_of_them: bool) -> None:
    # At the level and by the logger whose it is, so that who is shown the one is shown the other.
    for each in repetitions.due(all_of_them=all_of_them):
        told = {**each.fields, "what": each.event, "count": each.times, IS_COUNT: True}
        structlog.get_logger(each.logger).log(each.level, "logged again", **told)


@contextmanager
def _writing(stream: TextIO) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """Yield what writes to *stream*, and what to call when nobody will write any more.

    Libraries write to stderr themselves. Where that is a pipe or a terminal, theirs is made one that never waits for
    its reader meanwhile: what finds no room there is lost.
    """
    number = _descriptor(stream)
    if number is None:
        yield lambda text: _write_text(stream, text), lambda: None
        return
    own = os.dup(number)
    mode = os.fstat(own).st_mode
    with ExitStack() as stack:
        if number == _STDERR and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
            # Another opening of the same, for who started this process has the first and did not ask for it.
            with suppress(OSError):
                hasty = os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                os.dup2(hasty, number)
                os.close(hasty)
                stack.callback(os.dup2, own, number)
        released: list[bool] = []
        yield lambda text: _write_bytes(own, text.encode(errors="backslashreplace")), lambda: released.append(True)
    if released:  # a thread that is stuck in writing has it still
        os.close(own)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # it is no file's
        return None


def _write_text(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def _write_bytes(descriptor: int, content: bytes) -> None:
    """Write all of it, and wait for room where who started this process has made it a file that does not.

    Raises:
        UnwrittenError: it cannot be written.
    """
    left = memoryview(content)
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            room.poll()
        except OSError as error:
            raise UnwrittenError(bytes(left).count(b"\n")) from error


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


def _without_marks(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event.pop(IS_COUNT, None)
    return event


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


class _Reticent(logging.Filter):
    """Keeps back what is lower than a warning: a start that goes well is told by its greeting."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._until = clock() + QUIET_S

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether *record* is shown."""
        return record.levelno >= logging.WARNING or self._clock() >= self._until
