"""What became of exposures, by experiment and arm, as metrics. Arms are of the route table; units are no labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from turnout_server.instruments.families import ARM, EXPERIMENT, FATE, ROUTE, Family, counter
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.exposure import Arm, arm_of
from turnout_server.vocabulary.record import Record

WRITTEN, DROPPED, SUPPRESSED = "written", "dropped", "suppressed"


def family(fates: Mapping[str, Mapping[Arm, int]]) -> Family:
    """Return the metric of exposures, by what became of them."""
    points = [((*arm, fate), count) for fate, counts in fates.items() for arm, count in counts.items()]
    return counter("turnout.exposures", "{exposure}", _EXPOSURES, (ROUTE, EXPERIMENT, ARM, FATE), points)


class SuppressedExposures:
    """Counts exposures where no journal is kept: nobody will ever know of them. The event loop's thread only.

    Without an experiment in the route table nobody asks, so that nothing is missing.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._counts: dict[Arm, int] = {}

    def read(self, record: Record) -> None:
        """Count a request's end, if it is an exposure."""
        if record.decision is not None and record.copy_of < 0:
            self.include(record.decision, 1)

    def include(self, decision: Decision, count: int) -> None:
        """Count requests that were decided alike."""
        # That a unit is enrolled says that there is one, and an experiment.
        arm = arm_of(decision, "some") if decision.enrolled else None
        if arm is not None:
            self._counts[arm] = self._counts.get(arm, 0) + count

    def families(self) -> Iterable[Family]:
        """Return the metric as it is now, on any thread."""
        return (family({SUPPRESSED: dict(self._counts)}),)


_EXPOSURES = "Exposures by experiment and arm: written to the journal, dropped, or suppressed since none is kept."
