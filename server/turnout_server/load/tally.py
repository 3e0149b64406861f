"""What has come back so far; fed by every answer, so it does little for each."""

from __future__ import annotations

import math
from collections import Counter

from turnout_server.load.answerer import Sample
from turnout_server.load.histogram import Histogram


class Tally:
    """Counts and times answers.

    Calls that were due before `opens` are the warm-up: they are sent, and only `calls` counts them. Answers to the
    others count however late they come, or the slowest would be left out; but throughput counts what came between
    `opens` and `closes`, whenever it was sent.

    Times are seconds of one monotonic clock.
    """

    def __init__(self, opens: float, sample: Sample) -> None:
        self.opens = opens
        self.closes = math.inf
        self.sample = sample
        self.latency = Histogram()
        """Of answers that are OK: refusals are quick, and would make a server look the better the more it refuses."""
        self.codes: Counter[str] = Counter()
        self.messages: dict[str, str] = {}
        """The first message of each code other than OK."""
        self.calls = 0
        """All that ended, warm-up and all."""
        self.answered = 0
        """All that ended with OK, warm-up and all."""
        self.within = 0
        """Those that ended with OK from `opens` to `closes`."""

    def record(self, code: str, payload: bytes | None, started: float, ended: float) -> None:
        """Count one call that ended; *started* is when it was sent, or due if that was earlier."""
        self.calls += 1
        measured = started >= self.opens
        if code == "OK":
            self.answered += 1
            if self.opens <= ended < self.closes:
                self.within += 1
            if measured:
                self.codes["OK"] += 1
                self.latency.record(ended - started)
                self.sample.offer(payload or b"", ended - started)
        elif measured:
            self.codes[code] += 1
            if code not in self.messages:
                self.messages[code] = (payload or b"").decode(errors="replace")
