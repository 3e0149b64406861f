"""Who holds what: a route, and some buckets of a layer, from an experiment's start to the end of its cool-down.

```
layers/grants.json      changed by put-if-match, so that of two experiments that start at once one does
```

A grant comes before its experiment's `started.json`, and is confirmed after it. Who dies before that file is there
leaves a grant without an experiment, which holds for a minute and blocks nobody after that; who dies later has started.
Nothing is written to give buckets back: whether an experiment runs, and until when its buckets cool down, its own files
say. What has cooled down goes with the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from turnout_server.routing.route import BUCKETS, Span
from turnout_server.store.blobs import Blobs
from turnout_server.vocabulary.errors import Kind, StoreError, TurnoutError

KEY = "layers/grants.json"
FORMAT = 1
GRACE = timedelta(seconds=60)
"""How long a start may take."""
_ATTEMPTS = 100


class ExperimentConflictError(TurnoutError):
    """The experiment is there already, or another one is in its way."""

    reason = "EXPERIMENT_CONFLICT"
    kind = Kind.CONFLICT


class Grant(msgspec.Struct, frozen=True):
    """What an experiment was given when it started."""

    experiment: str
    route: str
    digest: str
    """Of the definition that starts."""
    since: datetime
    by: str
    layer: str | None = None
    buckets: tuple[Span, ...] = ()
    token: str = ""
    """What tells who is about to start from others who are; empty once it has started."""


class _Ledger(msgspec.Struct, frozen=True):
    format: int
    grants: tuple[Grant, ...] = ()


class Standing(NamedTuple):
    """How it stands with the experiment of a grant."""

    has_started: bool
    cools_until: datetime | None = None
    """When its buckets are free again; None while it runs."""


StandingOf = Callable[[str], Standing]


class Held(NamedTuple):
    """Buckets that somebody has."""

    grant: Grant
    until: datetime | None
    """None while the experiment runs."""

    def __str__(self) -> str:
        one = f"{spans(self.grant.buckets)} by {self.grant.experiment!r}"
        until = "which runs" if self.until is None else f"cooling down until {self.until:%Y-%m-%d %H:%M} UTC"
        return f"{one}, {until}"


class Grants:
    """The grants of a store."""

    def __init__(self, blobs: Blobs) -> None:
        """Keep them in *blobs*."""
        self._blobs = blobs

    def check(self, wanted: Grant, standing_of: StandingOf, now: datetime) -> None:
        """Check that nobody has what is *wanted*.

        Raises:
            ExperimentConflictError: who has it, until when, and what of the layer is free.
            StoreError: the grants cannot be read.
        """
        grants, _ = self._read()
        _check(wanted, grants, standing_of, now)

    def claim(self, wanted: Grant, standing_of: StandingOf, now: datetime) -> None:
        """Have what is *wanted*: of any number who want the same at once one gets it.

        Raises:
            ExperimentConflictError, StoreError: as `check`.
        """
        for _ in range(_ATTEMPTS):
            grants, tag = self._read()
            _check(wanted, grants, standing_of, now)
            others = (one for one in grants if one.experiment != wanted.experiment)
            left = [one for one in others if not _is_surely_over(one, standing_of, now)]
            if self._write((*left, wanted), tag):
                return
        raise ExperimentConflictError(f"others started experiments {_ATTEMPTS} times meanwhile; try again")

    def confirm(self, grant: Grant) -> bool:
        """Say that the experiment of a *grant* has started; return False where others have its place by now."""
        for _ in range(_ATTEMPTS):
            grants, tag = self._read()
            if grant not in grants:
                return False
            rest = [one for one in grants if one != grant]
            if self._write((*rest, msgspec.structs.replace(grant, token="")), tag):
                return True
        return True  # others have started meanwhile, and each of them has found it

    def withdraw(self, grant: Grant) -> None:
        """Give back what was claimed for an experiment that does not start."""
        for _ in range(_ATTEMPTS):
            grants, tag = self._read()
            if grant not in grants or self._write([one for one in grants if one != grant], tag):
                return

    def all(self) -> tuple[Grant, ...]:
        """Return all that have not cooled down, and perhaps some that have, by experiment."""
        return self._read()[0]

    def _read(self) -> tuple[tuple[Grant, ...], str | None]:
        blob = self._blobs.get(KEY)
        if blob is None:
            return (), None
        try:
            ledger = msgspec.json.decode(blob.content, type=_Ledger)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreError(f"{KEY}: {error}") from error
        if ledger.format != FORMAT:
            raise StoreError(f"{KEY}: $.format: found {ledger.format}; this release reads {FORMAT}")
        return ledger.grants, blob.tag

    def _write(self, grants: Iterable[Grant], tag: str | None) -> bool:
        ledger = _Ledger(FORMAT, tuple(sorted(grants, key=lambda grant: grant.experiment)))
        content = msgspec.json.format(msgspec.json.encode(ledger), indent=2) + b"\n"
        return self._blobs.put_if_absent(KEY, content) if tag is None else self._blobs.put_if_match(KEY, content, tag)


def held(layer: str, grants: Sequence[Grant], standing_of: StandingOf, now: datetime) -> list[Held]:
    """Return which buckets of a layer somebody has."""
    mine = [one for one in grants if one.layer == layer and not _is_over(one, standing_of, now)]
    return [Held(one, standing_of(one.experiment).cools_until) for one in mine]


def spans(given: Iterable[Span]) -> str:
    """Return buckets as text: the first and the last of each span."""
    return ", ".join(f"{first}-{end - 1}" if end - first > 1 else str(first) for first, end in given) or "none"


def free(taken: Iterable[Held]) -> tuple[Span, ...]:
    """Return the buckets of a layer that nobody has."""
    found: list[Span] = []
    at = 0
    for first, end in sorted(span for one in taken for span in one.grant.buckets):
        if first > at:
            found.append((at, first))
        at = max(at, end)
    return (*found, (at, BUCKETS)) if at < BUCKETS else tuple(found)


def _check(wanted: Grant, grants: Sequence[Grant], standing_of: StandingOf, now: datetime) -> None:
    others = [one for one in grants if one.experiment != wanted.experiment]
    for one in others:
        if one.route == wanted.route and not _is_over(one, standing_of, now) and _runs(one, standing_of):
            how = "runs" if standing_of(one.experiment).has_started else f"was being started at {_time(one.since)}"
            raise ExperimentConflictError(
                f"experiment {one.experiment!r} {how} on route {wanted.route!r}; stop it first"
            )
    for same in grants:
        if same.experiment == wanted.experiment and same.token and not _is_over(same, standing_of, now):
            raise ExperimentConflictError(
                f"experiment {same.experiment!r} was being started by {same.by} at {_time(same.since)}; "
                f"if that has failed, try again in {GRACE.total_seconds():.0f} s"
            )
    if wanted.layer is None:
        return
    taken = held(wanted.layer, others, standing_of, now)
    clashing = [one for one in taken if _overlap(one.grant.buckets, wanted.buckets)]
    if clashing:
        raise ExperimentConflictError(
            f"buckets {spans(wanted.buckets)} of layer {wanted.layer!r} are not free: {'; '.join(map(str, clashing))}. "
            f"Free are {spans(free(taken))}"
        )


def _runs(grant: Grant, standing_of: StandingOf) -> bool:
    return standing_of(grant.experiment).cools_until is None


def _is_over(grant: Grant, standing_of: StandingOf, now: datetime) -> bool:
    """Say whether nobody has any more what was granted."""
    standing = standing_of(grant.experiment)
    if not standing.has_started:
        return now - grant.since > GRACE
    return standing.cools_until is not None and standing.cools_until <= now


def _is_surely_over(grant: Grant, standing_of: StandingOf, now: datetime) -> bool:
    """Say so of a grant that is in nobody's way here: an experiment that cannot be read keeps what it has."""
    try:
        return _is_over(grant, standing_of, now)
    except StoreError:
        return False


def _overlap(some: Iterable[Span], others: Sequence[Span]) -> bool:
    return any(first < other_end and other_first < end for first, end in some for other_first, other_end in others)


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
