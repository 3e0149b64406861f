"""Intakes without a thread: the test takes the turns, and is the clock."""

from __future__ import annotations

import itertools
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from turnout_server.config import JournalConfig, OutcomesConfig
from turnout_server.journal.boot import Boot
from turnout_server.journal.reading import Answer
from turnout_server.outcomes.intake import Intake
from turnout_server.outcomes.outcome import Outcome, Result
from turnout_server.outcomes.reading import query

NOW_S = 1_795_000_000.0
"""When tests begin, in seconds since the epoch."""
NOW_US = int(NOW_S * 1e6)
_numbers = itertools.count()


def outcome(outcome_id: str = "o-1", **values: Any) -> Outcome:
    """Return an outcome that can be taken."""
    told: dict[str, Any] = {
        "unit": "ann",
        "request_id": "",
        "event_us": NOW_US - 1_000_000,
        "name": "order",
        "value": 1.0,
    }
    return Outcome(outcome_id, **(told | values))


class World:
    """One gateway, and time."""

    def __init__(self, journal: Path, instance: str = "gw", write: Any = None, **config: Any) -> None:
        self.journal = journal
        self.now = 0.0
        """In seconds; both clocks go by it."""
        self._config = JournalConfig(path=str(journal), **config), OutcomesConfig()
        self._instance = instance
        self._write = write
        self.start()

    def start(self) -> None:
        """Start a gateway, where none runs."""
        boot = Boot(self._instance, f"{next(_numbers):016x}")
        self.intake = Intake(*self._config, boot, write=self._write, wall=lambda: NOW_S + self.now)

    def send(self, *outcomes: Outcome) -> Future[list[Result]]:
        """Send outcomes, take a turn, and return what is said of them."""
        answer = self.intake.take(outcomes)
        self.intake.turn(self.now)
        return answer

    def fates(self, *outcomes: Outcome) -> list[str]:
        """Send outcomes and return what became of each: the fate, or why it was rejected."""
        return [one.reason or one.fate.value for one in self.send(*outcomes).result(0)]

    def pass_(self, seconds: float) -> None:
        """Let time pass, and take a turn."""
        self.now += seconds
        self.intake.turn(self.now)

    def end(self) -> None:
        """End the gateway in good order."""
        self.intake.close()
        self.intake.turn(self.now, closing=True)

    def die(self) -> None:
        """End it as a kill does: nothing more is said or written, and its locks are gone."""
        if self.intake._inbox is not None:
            self.intake._inbox.close()

    def find(self, sql: str) -> Answer:
        """Ask the files."""
        return query(self.journal, sql)

    def ids(self) -> list[str]:
        """Return the ids in all files, sorted, as often as they are there."""
        return [one for (one,) in self.find("SELECT outcome_id FROM outcomes ORDER BY ALL").rows]
