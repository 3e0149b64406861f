"""What speaks for believing an analysis, and what against it, one by one and in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from turnout_server.experiments import words
from turnout_server.experiments.findings import Findings, Soundness
from turnout_server.statistics.srm import MISMATCH
from turnout_server.statistics.verdict import MOST_LOST, Exposures, loss_faults

Weight = Literal["fine", "look", "wrong"]
"""How a check weighs: nothing is amiss, a reader should know of it, or there is no verdict with it."""


class Check(NamedTuple):
    """One thing that was looked at."""

    weight: Weight
    subject: str
    said: str


def checks(found: Findings) -> Iterator[Check]:
    """Yield everything that decides whether an analysis is to be believed."""
    sound = found.soundness
    yield _definition(found)
    yield _split(sound)
    yield _records(sound)
    yield from _by_arm(sound)
    yield from _units(sound)
    yield from _exposures(sound)
    yield from _outcomes(sound)
    for name, problem in sorted(sound.unreadable.items()):
        yield Check("wrong", "unreadable", f"{name}: {problem}")
    for mark in found.marks:
        yield Check("look", "mark", mark)


def _definition(found: Findings) -> Check:
    if found.frozen:
        return Check("fine", "definition", "was fixed when the experiment started")
    return Check(
        "look", "definition", "not frozen: it was not fixed at a start, and may have been chosen after looking"
    )


def _split(sound: Soundness) -> Check:
    subject = "split (SRM)"
    if sound.srm_p is None:
        return Check("wrong", subject, "not checked: nothing says what arms should have got")
    if not sound.srm_p >= MISMATCH:
        return Check("wrong", subject, f"sample ratio mismatch: p = {words.p_value(sound.srm_p)}, below {MISMATCH:g}")
    return Check("fine", subject, f"arms got what their weights promise: least p = {words.p_value(sound.srm_p)}")


def _records(sound: Soundness) -> Check:
    subject = "records lost"
    if not sound.offered:
        return Check("look", subject, "unknown: no gateway has counted what it offered to the journal")
    share = sound.lost / sound.offered
    said = f"{sound.lost:,} of {sound.offered:,} that gateways offered to the journal, {words.percent(share)}"
    return Check("wrong" if share > MOST_LOST else "look" if sound.lost else "fine", subject, said)


def _by_arm(sound: Soundness) -> Iterator[Check]:
    """Yield whether arms lost alike, where anything is lost."""
    if not sound.lost:
        return
    if sound.lost_unknown:
        said = f"of {sound.lost_unknown:,} of the {sound.lost:,} lost records nobody knows whose they were"
        yield Check("look", "unknown arm", said)
    each = "; ".join(f"{arm.name} {_of(arm.lost, arm.kept + arm.lost)}" for arm in sound.losses)
    faults = loss_faults([Exposures(arm.kept, arm.lost) for arm in sound.losses], sound.clumping)
    weight: Weight = "wrong" if faults else "look" if any(arm.lost for arm in sound.losses) else "fine"
    yield Check(weight, "lost by arm", "; ".join([f"exposures that are lost: {each}", *faults]))


def _units(sound: Soundness) -> Iterator[Check]:
    counted = sound.units - sound.excluded - sound.immature
    yield Check(
        "look" if sound.immature else "fine",
        "maturity",
        f"{counted:,} of {sound.units:,} units count; the windows of {sound.immature:,} are open, so they are left out",
    )
    said = f"{_of(sound.excluded, sound.units)} units were taken for robots, by a rule that is blind to the arm"
    yield Check("look" if sound.excluded else "fine", "excluded", said)
    said = f"{_of(sound.moved, sound.units)} units were assigned to a second arm later; they count for their first"
    yield Check("look" if sound.moved else "fine", "moved", said)


def _exposures(sound: Soundness) -> Iterator[Check]:
    said = f"{_of(sound.fallbacks, sound.exposures)} exposures were answered by another arm; they count as assigned"
    yield Check("look" if sound.fallbacks else "fine", "fallbacks", said)
    said = f"{_of(sound.failed, sound.exposures)} exposures were refused or failed; they count as assigned"
    yield Check("look" if sound.failed else "fine", "failed", said)
    if sound.others:
        each = ", ".join(f"{count:,} {why}" for why, count in sorted(sound.others.items()))
        yield Check("look", "no exposures", f"records of the route that do not count, by why: {each}")


def _outcomes(sound: Soundness) -> Iterator[Check]:
    said = f"{sound.duplicates:,} repeated what one of the {sound.outcomes:,} outcomes says; each counts once"
    yield Check("look" if sound.duplicates else "fine", "duplicates", said)
    said = f"{_of(sound.quarantined, sound.outcomes)} outcomes contradict themselves; none of them counts"
    yield Check("look" if sound.quarantined else "fine", "quarantined", said)
    strangers = sound.nobodys + sound.strangers
    said = (
        f"{sound.nobodys:,} outcomes are of nobody known, {sound.strangers:,} of units that took no part, "
        f"{sound.early:,} from before their unit's exposure; none of them counts"
    )
    yield Check("look" if strangers or sound.early else "fine", "left out", said)


def _of(some: int, whole: int) -> str:
    return f"{some:,} of {whole:,}"
