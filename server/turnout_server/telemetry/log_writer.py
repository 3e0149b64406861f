"""Writes log lines in a thread of its own: nobody who logs waits for who reads.

What waits to be written is bounded. Where nobody reads, as with a full pipe, further lines are dropped and counted, and
once it flows again the log says how many. So are lines that cannot be written, as where the disk is full.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

MOST_LINES = 10_000
"""How many lines may wait to be written."""
MOST_CHARACTERS = 4 << 20
"""How long they may be together."""
LOOK_EVERY_S = 1.0
"""How often the thread looks at what else is to be said, in seconds, where nobody logs."""


class UnwrittenError(Exception):
    """Of what was to be written the last so many lines were not."""

    def __init__(self, lines: int) -> None:
        super().__init__(f"{lines} lines cannot be written")
        self.lines = lines


class LogWriter:
    """A bounded queue of lines and the thread that empties it. Any thread."""

    def __init__(
        self,
        write: Callable[[str], None],
        on_idle: Callable[[int], None] = lambda dropped: None,
        *,
        most_lines: int = MOST_LINES,
        most_characters: int = MOST_CHARACTERS,
    ) -> None:
        """Start the thread.

        Args:
            write: writes whole lines, and may wait for as long as it likes. Where it raises, those that
                `UnwrittenError` says are lost, and with any other error all.
            on_idle: called by the thread whenever all is written, and once a second, with how many lines were lost
                since the last time; what it logs is written next.
            most_lines: how many lines may wait.
            most_characters: how long they may be together.
        """
        self._write = write
        self._on_idle = on_idle
        self._most_lines = most_lines
        self._most_characters = most_characters
        self._lines: deque[str] = deque()
        self._characters = 0
        self._changed = threading.Condition()
        self._is_writing = False
        self._is_closing = False
        self._told = 0
        self.dropped = 0
        """How many lines were dropped until now."""
        self.unwritten = 0
        """How many could not be written."""
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Have *line* written, or drop it where too much waits already."""
        with self._changed:
            if len(self._lines) >= self._most_lines or self._characters + len(line) > self._most_characters:
                self.dropped += 1
                return
            self._lines.append(line)
            self._characters += len(line)
            self._changed.notify_all()

    def flush(self, within_s: float) -> bool:
        """Wait until all that was put is written, *within_s* seconds at most; return whether it is."""
        ends = time.monotonic() + within_s
        with self._changed:
            while self._lines or self._is_writing:
                left = ends - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._changed.wait(left)
        return True

    def close(self, within_s: float) -> bool:
        """Write what waits, within so many seconds, and end; what cannot be written by then is lost.

        Return whether the thread has ended: one that is stuck in writing has not.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._lines and not self._is_closing:
                    self._changed.wait(LOOK_EVERY_S)
                text = self._take()
            if text:
                self._try_to_write(text)
            self._tell()
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                if self._is_closing and not self._lines:
                    return

    def _take(self) -> str:
        text = "".join(self._lines)
        self._lines.clear()
        self._characters = 0
        self._is_writing = bool(text)
        return text

    def _try_to_write(self, text: str) -> None:
        lost = 0
        try:
            self._write(text)
        except UnwrittenError as error:
            lost = error.lines
        except Exception:  # where else should one say that the log cannot be written?
            lost = text.count("\n")
        self.unwritten += lost
        self._is_failing = lost > 0

    def _tell(self) -> None:
        lost = 0
        if not self._is_failing:  # else what says so would be lost as well
            with self._changed:
                known, self._told = self._told, self.dropped + self.unwritten
                lost = self._told - known
        with contextlib.suppress(Exception):
            self._on_idle(lost)
