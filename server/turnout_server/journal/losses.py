"""Which arms the lost exposures were of, and in which time: what footers say of it, one after the other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from turnout_server.journal.exposures import Counts, add
from turnout_server.vocabulary.exposure import Arm


class Mark(NamedTuple):
    """What a boot had lost when it finished one of its segments."""

    first_us: int | None
    """When the segment's first record came, in microseconds since the epoch; None where it has none."""
    last_us: int | None
    """And its last one."""
    records: int
    """Dropped since the boot began."""
    exposures: Mapping[Arm, int] | None
    """Those of them that are exposures; None where the segment does not say, as those of earlier gateways."""


class BootLoss(NamedTuple):
    """What one boot lost."""

    marks: Sequence[Mark]
    """Of its segments, in their order."""
    records: int
    """In all: dropped, missing, or gone."""


class Losses(NamedTuple):
    """What was lost in some time."""

    exposures: Counts
    """By arm."""
    unknown: int
    """Records that were lost, of which nobody knows whose they were. Of those that no segment tells of the time is not
    known either."""


def between(boots: Iterable[BootLoss], start_us: int, stop_us: int) -> Losses:
    """Return what *boots* lost from *start_us* to *stop_us*, to a segment.

    It is what was counted from the last segment that is all earlier to the last one that begins in time. Where that one
    ends before the time does, as when a disk was full, what the next one counts on top is of nobody knows what time.
    """
    exposures: Counts = {}
    unknown = 0
    for boot in boots:
        before, until = _before(boot.marks, start_us), _until(boot.marks, stop_us)
        if until is not None and (before is None or until > before):
            earlier = _NOTHING if before is None else boot.marks[before]
            later = boot.marks[until]
            if later.exposures is None:
                unknown += max(0, later.records - earlier.records)
            else:
                known = earlier.exposures or {}
                add(exposures, {arm: count - known.get(arm, 0) for arm, count in later.exposures.items()})
            unknown += _in_the_gap(boot.marks[until : until + 2], stop_us)
        if until is None or until == len(boot.marks) - 1:
            unknown += max(0, boot.records - (boot.marks[-1].records if boot.marks else 0))
    return Losses({arm: count for arm, count in exposures.items() if count > 0}, unknown)


def _in_the_gap(marks: Sequence[Mark], stop_us: int) -> int:
    """Return what was lost between the last mark in time and the one after it, where the time ended between them."""
    if len(marks) < 2 or (marks[0].last_us is not None and marks[0].last_us >= stop_us):
        return 0
    return max(0, marks[1].records - marks[0].records)


def _before(marks: Sequence[Mark], start_us: int) -> int | None:
    """Return which is the last one whose records are all earlier; None for none."""
    earlier = [place for place, mark in enumerate(marks) if mark.last_us is not None and mark.last_us < start_us]
    return max(earlier, default=None)


def _until(marks: Sequence[Mark], stop_us: int) -> int | None:
    """Return which is the last one that begins in time, or has no record and comes before any that is too late."""
    found = None
    for place, mark in enumerate(marks):
        if mark.first_us is not None and mark.first_us >= stop_us:
            break
        found = place
    return found


_NOTHING = Mark(None, None, 0, None)
