"""One event a line, whoever logs it, with the ids of the current trace."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from turnout_server.gateway import spans
from turnout_server.gateway.spans import Spans
from turnout_server.telemetry import logs
from turnout_server.telemetry.logs import logging_to_stderr

TRACE_ID, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_an_event_is_one_line_of_json() -> None:
    log = io.StringIO()
    with logging_to_stderr("info", "json", log):
        structlog.get_logger("turnout.test").info("loaded", model="price", text="zwei\nZeilen")
    (line,) = lines(log)
    assert list(line) == ["timestamp", "level", "logger", "event", "model", "text"]
    stamp = datetime.fromisoformat(line.pop("timestamp"))
    assert stamp.utcoffset() == timedelta(0)
    assert line == {
        "event": "loaded",
        "level": "info",
        "logger": "turnout.test",
        "model": "price",
        "text": "zwei\nZeilen",
    }


def test_libraries_that_log_as_usual_look_the_same() -> None:
    log = io.StringIO()
    with logging_to_stderr("info", "json", log):
        logging.getLogger("grpc._server").error("%s of %d", "one", 2, extra={"peer": "x"})
    (line,) = lines(log)
    assert (line["event"], line["level"], line["logger"], line["peer"]) == ("one of 2", "error", "grpc._server", "x")


def test_warnings_are_events_too() -> None:
    log = io.StringIO()
    with logging_to_stderr("info", "json", log), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("look out", UserWarning, stacklevel=1)
    (line,) = lines(log)
    assert line["logger"] == "py.warnings"
    assert "look out" in line["event"]


def test_events_carry_the_ids_of_the_current_trace() -> None:
    log = io.StringIO()
    with logging_to_stderr("info", "json", log):
        token = spans.enter(Spans().start("a.B/C", {"traceparent": f"00-{TRACE_ID}-{CALLER}-01"}))
        structlog.get_logger("turnout").info("inside")
        logging.getLogger("library").warning("inside too")
        spans.leave(token)
        structlog.get_logger("turnout").info("outside")
    inside, too, outside = lines(log)
    for line in (inside, too):
        assert (line["trace_id"], line["span_id"]) == (TRACE_ID, CALLER)
    assert "trace_id" not in outside


@pytest.mark.parametrize("through", ["structlog", "logging"])
def test_an_exception_is_structure_on_one_line_without_locals(through: str) -> None:
    log = io.StringIO()
    with logging_to_stderr("info", "json", log):
        secret = "s3cr3t"
        try:
            raise ValueError("wrong\nentirely")
        except ValueError:
            logger: Any = structlog.get_logger("t") if through == "structlog" else logging.getLogger("t")
            logger.exception("failed")
    (line,) = lines(log)
    (raised,) = line["exception"]
    assert (raised["exc_type"], raised["exc_value"]) == ("ValueError", "wrong\nentirely")
    assert raised["frames"][-1]["name"].startswith("test_an_exception")
    assert secret not in log.getvalue()


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_lower_levels_are_not_shown(level: str, shown: int) -> None:
    log = io.StringIO()
    with logging_to_stderr(level, "json", log):
        for name in ("debug", "info", "warning", "error"):
            getattr(structlog.get_logger("t"), name)("event")
            getattr(logging.getLogger("t"), name)("event")
    assert len(lines(log)) == 2 * shown


@pytest.mark.parametrize(
    ("format", "stream", "is_json", "is_coloured"),
    [
        ("auto", io.StringIO, True, False),
        ("auto", Terminal, False, True),
        ("json", Terminal, True, False),
        ("console", io.StringIO, False, False),
    ],
)
def test_terminals_get_a_readable_form(format: Any, stream: Any, is_json: bool, is_coloured: bool) -> None:
    log = stream()
    with logging_to_stderr("info", format, log):
        structlog.get_logger("turnout.test").warning("loaded", model="price")
    assert log.getvalue().startswith("{") == is_json
    assert ("\x1b[" in log.getvalue()) == is_coloured
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log.getvalue())
    assert "loaded" in plain
    assert is_json or "model=price" in plain


def test_everything_is_put_back() -> None:
    root = logging.getLogger()
    before = root.handlers, root.level, structlog.get_config()
    with logging_to_stderr("error", "json", io.StringIO()):
        assert root.handlers != before[0]
    assert (root.handlers, root.level, structlog.get_config()) == before


def test_opentelemetry_speaks_once_a_minute_and_others_as_they_like() -> None:
    now = 1000.0
    seldom = logs._Seldom(clock=lambda: now)

    def passes(name: str) -> bool:
        return seldom.filter(logging.LogRecord(name, logging.WARNING, "", 0, "text", (), None))

    assert [passes("opentelemetry.exporter"), passes("opentelemetry.exporter")] == [True, False]
    assert passes("opentelemetry.trace.span")
    assert [passes("turnout.data_plane"), passes("turnout.data_plane")] == [True, True]
    now += logs.LIBRARY_SILENCE_S
    assert passes("opentelemetry.exporter")


def test_a_wrong_tracestate_cannot_fill_the_log() -> None:
    log = io.StringIO()
    with logging_to_stderr("info", "json", log):
        for _ in range(100):
            Spans().start("a.B/C", {"traceparent": f"00-{TRACE_ID}-{CALLER}-01", "tracestate": "=wrong="})
    assert len(lines(log)) == 1


def test_a_client_that_left_is_no_error() -> None:
    log = io.StringIO()
    grpc_log = logging.getLogger("grpc._cython.cygrpc")
    with logging_to_stderr("info", "json", log):
        grpc_log.error("ExecuteBatchError raised in core by servicer method [%s]", "/a/B")
        grpc_log.error("Unexpected [%s]", "/a/B")
    assert [line["event"] for line in lines(log)] == ["Unexpected [/a/B]"]


def test_a_start_on_a_terminal_says_only_what_is_amiss_until_it_is_over() -> None:
    terminal, file = Terminal(), io.StringIO()
    for log, format in ((terminal, "auto"), (file, "json")):
        with logging_to_stderr("info", format, log):
            structlog.get_logger("turnout.test").info("loaded")
            structlog.get_logger("turnout.test").warning("amiss")
            logs.speak_up()
            structlog.get_logger("turnout.test").info("a new table")
    shown = [name for line in terminal.getvalue().splitlines() for name in ("loaded", "amiss", "table") if name in line]
    assert shown == ["amiss", "table"]
    assert [line["event"] for line in lines(file)] == ["loaded", "amiss", "a new table"]


def test_a_start_that_takes_long_is_not_kept_quiet() -> None:
    now = [0.0]
    quiet = logs._Reticent(lambda: now[0])
    record = logging.LogRecord("turnout", logging.INFO, "", 0, "loaded", None, None)
    assert not quiet.filter(record)
    now[0] = logs.QUIET_S
    assert quiet.filter(record)


def test_who_asks_for_more_is_told_more() -> None:
    log = Terminal()
    with logging_to_stderr("debug", "auto", log):
        structlog.get_logger("turnout.test").info("loaded")
    assert "loaded" in log.getvalue()
