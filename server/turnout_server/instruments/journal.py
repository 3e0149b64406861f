"""How the journal is doing, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from turnout_server.instruments import exposures
from turnout_server.instruments.families import CAUSE, Family, counter, gauge
from turnout_server.vocabulary.exposure import Arm


class Counts(Protocol):
    """What a journal counts."""

    @property
    def offered(self) -> int:
        """Records that came."""

    @property
    def written(self) -> int:
        """Records in finished segments."""

    @property
    def waiting(self) -> int:
        """Records that are neither written nor lost."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Records that were lost, by cause."""

    @property
    def segments(self) -> int:
        """Finished segments."""

    @property
    def bytes(self) -> int:
        """What those take."""

    @property
    def problem(self) -> str:
        """Why nothing can be written at the moment; empty when it can."""

    @property
    def written_exposures(self) -> Mapping[Arm, int]:
        """Exposures in finished segments, by arm."""

    @property
    def dropped_exposures(self) -> Mapping[Arm, int]:
        """Exposures that were lost."""


class JournalInstruments:
    """A journal's counts, read when somebody collects them."""

    def __init__(self, counts: Callable[[], Counts]) -> None:
        """Read *counts*, on any thread."""
        self._counts = counts

    def families(self) -> tuple[Family, ...]:
        """Return every metric as it is now."""
        counts = self._counts()
        dropped = [((cause,), count) for cause, count in counts.dropped.items()]
        fates = {exposures.WRITTEN: counts.written_exposures, exposures.DROPPED: counts.dropped_exposures}
        return (
            counter("turnout.journal.offered", "{record}", _OFFERED, (), [((), counts.offered)]),
            counter("turnout.journal.written", "{record}", _WRITTEN, (), [((), counts.written)]),
            counter("turnout.journal.dropped", "{record}", _DROPPED, (CAUSE,), dropped),
            gauge("turnout.journal.waiting", "{record}", _WAITING, (), [((), counts.waiting)]),
            counter("turnout.journal.segments", "{segment}", _SEGMENTS, (), [((), counts.segments)]),
            counter("turnout.journal.bytes", "By", _BYTES, (), [((), counts.bytes)]),
            gauge("turnout.journal.writable", "1", _WRITABLE, (), [((), int(not counts.problem))]),
            exposures.family(fates),
        )


_OFFERED = "Records that the journal was given."
_WRITTEN = "Records in finished segments."
_DROPPED = "Records that are lost, by cause."
_WAITING = "Records that are neither written nor lost yet."
_SEGMENTS = "Finished segments."
_BYTES = "What finished segments take."
_WRITABLE = "1 while the journal can be written, 0 while it cannot."
