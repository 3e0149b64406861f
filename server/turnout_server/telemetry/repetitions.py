"""What the log says once, and then only counts: a caller who makes a model fail must not fill the disk.

Two warnings or errors are the same where their logger, event and fields are, apart from trace ids, and where their
exceptions were raised in the same place. The first is shown; those that follow within a minute are counted, and the
count is shown when the minute is over, at the same level: who has no lower ones shown should have it too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from turnout_server.vocabulary.errors import TurnoutError

EVERY_S = 60.0
"""How long the same is counted before it is shown again."""
MOST_KINDS = 4096
"""How many different ones are shown within that time; all beyond count as one."""
_OF_A_LOGGER = 4
"""A logger has this part of them: what floods one does not hide what others say for the first time."""
_OF_AN_EVENT = 16
"""And one event of a logger has this part."""
IS_COUNT = "_is_count"
"""A field of what is itself about lines that were left out, and is therefore shown always."""
_LONGEST = 200
"""How much of a field tells it from another, in characters."""
_PASSING = frozenset({"timestamp", "level", "logger", "trace_id", "span_id", "exc_info", "stack_info", "event"})
"""Fields that differ though all else is the same, or that are looked at otherwise."""
_TOO_MANY = "too many different events"


class Repeated(NamedTuple):
    """What was logged again and not shown."""

    logger: str
    level: int
    """The highest, where several were counted as one."""
    event: str
    times: int
    fields: Mapping[str, Any]
    """Those by which it is known: the model, the version, the method."""


class _Seen:
    __slots__ = ("count", "event", "fields", "groups", "level", "logger", "since")

    def __init__(self, since: float, record: logging.LogRecord, event: str, fields: Mapping[str, Any]) -> None:
        self.since = since
        self.logger = record.name
        self.level = record.levelno
        self.event = event
        self.fields = {key: value for key, value in fields.items() if key[0] != "_"}
        self.groups: tuple[Hashable, ...] = ()
        self.count = 0


class Repetitions(logging.Filter):
    """Lets each kind of warning and error through once a minute. Any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most_kinds: int = MOST_KINDS) -> None:
        super().__init__()
        self._clock = clock
        self._most_kinds = most_kinds
        self._kinds: Counter[Hashable] = Counter()
        """How many there are of each logger, and of each of its events."""
        self._seen: dict[Hashable, _Seen] = {}
        self._lock = threading.Lock()
        self.left_out = 0
        """How many were not shown until now."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether *record* is shown."""
        if record.levelno < logging.WARNING or (isinstance(record.msg, Mapping) and IS_COUNT in record.msg):
            return True
        event, fields = _told(record)
        kind = (record.name, record.levelno, type(record.msg), event)
        key: Hashable = (*kind, tuple(sorted(_short(fields).items())), _place(record, fields))
        groups: tuple[Hashable, ...] = ((record.name, event), record.name)
        now = self._clock()
        with self._lock:
            if key not in self._seen:
                if self._kinds[groups[0]] >= max(self._most_kinds // _OF_AN_EVENT, 1):
                    key, fields, groups = ("others", groups[0]), {}, ()
                elif self._kinds[groups[1]] >= max(self._most_kinds // _OF_A_LOGGER, 1):
                    key, event, fields, groups = ("others", groups[1]), _TOO_MANY, {}, ()
                elif len(self._seen) >= self._most_kinds:
                    key, event, fields, groups = "others", _TOO_MANY, {}, ()
            seen = self._seen.get(key)
            if seen is not None and now - seen.since < EVERY_S:
                seen.level = max(seen.level, record.levelno)
                seen.count += 1
                self.left_out += 1
                return False
            self._seen[key] = new = _Seen(now, record, event, fields)
            if seen is not None:  # a count that nobody has asked for until now goes on
                new.count, new.level, new.groups = seen.count, max(seen.level, new.level), seen.groups
            else:
                new.groups = groups
                self._kinds.update(groups)
        return True

    def due(self, *, all_of_them: bool = False) -> list[Repeated]:
        """Return what was left out of minutes that are over, or of *all_of_them*, and forget those."""
        now = self._clock()
        with self._lock:
            over = [key for key, seen in self._seen.items() if all_of_them or now - seen.since >= EVERY_S]
            ended = [self._seen.pop(key) for key in over]
            for seen in ended:
                self._kinds.subtract(seen.groups)
            self._kinds = +self._kinds  # without those that have none
        return [Repeated(one.logger, one.level, one.event, one.count, one.fields) for one in ended if one.count]


def _told(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Return the event and its fields: structlog's are a mapping, and of others the text without its values counts."""
    if isinstance(record.msg, Mapping):
        fields = {key: value for key, value in record.msg.items() if key not in _PASSING}
        return str(record.msg.get("event", "")), fields
    return str(record.msg), {}


def _short(fields: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value)[:_LONGEST] for key, value in fields.items()}


def _place(record: logging.LogRecord, fields: Mapping[str, Any]) -> Hashable:
    """Return where the exception was raised, if there is one, and which of ours it is."""
    given = record.msg.get("exc_info") if isinstance(record.msg, Mapping) else record.exc_info
    error = given[1] if isinstance(given, tuple) else given
    if not isinstance(error, BaseException):
        return None
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = None if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    return type(error), error.message[:_LONGEST] if isinstance(error, TurnoutError) else "", where
