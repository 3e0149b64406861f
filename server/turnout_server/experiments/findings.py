"""What an analysis comes to: immutable values that become JSON, a table and a report.

A number that is not there is null in JSON; so is an end of an interval that reaches to infinity.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import msgspec

FORMAT = 1
"""Of the JSON. It changes where a reader could misread what it knew."""


class Interval(msgspec.Struct, frozen=True):
    """Every value that the data do not contradict."""

    low: float
    high: float


class Arm(msgspec.Struct, frozen=True):
    """One arm's side of a comparison."""

    name: str
    units: int
    """Those that count: not excluded, and with a closed window."""
    value: float | None
    """In the metric's own unit, over all epochs that compare."""


class Difference(msgspec.Struct, frozen=True):
    """How far a treatment is from control."""

    value: float | None
    interval: Interval | None


class EpochEffect(msgspec.Struct, frozen=True):
    """The same within one epoch, without an interval: for looking whether epochs agree."""

    epoch: str
    control_units: int
    treatment_units: int
    control: float | None
    treatment: float | None


class Comparison(msgspec.Struct, frozen=True):
    """One treatment against control, by one metric."""

    metric: str
    role: str
    """`primary`, `guardrail` or `secondary`."""
    kind: str
    better: str
    margin: float
    control: Arm
    treatment: Arm
    absolute: Difference
    relative: Difference
    """As a part of control's value: 0.1 is 10 % more."""
    alpha: float
    """How probable it may be that the intervals miss the truth: what `Holm` leaves of it, for a primary metric."""
    p: float | None
    """Of there being no difference; always valid where the method is sequential."""
    adjusted_p: float | None
    """By Holm over treatments (primary), or by Benjamini and Hochberg (secondary): over those that were fixed, or for
    one that was added over all of them; null for guardrails."""
    exploratory: bool
    silence: str | None
    """Why nothing is said yet."""
    epochs: tuple[EpochEffect, ...]
    theta_variance_left: float | None = None
    """What a covariate has left of the variance, 0 to 1; null without one."""
    added: datetime | None = None
    """When the metric was added, where that was after the start; then it is exploratory."""


class Verdict(msgspec.Struct, frozen=True):
    """What it comes to for one treatment."""

    treatment: str
    verdict: str
    reasons: tuple[str, ...]


class EpochSplit(msgspec.Struct, frozen=True):
    """Whether an epoch's arms got what their weights promise."""

    epoch: str
    first: datetime
    last: datetime
    arms: tuple[str, ...]
    weights: tuple[float, ...] | None
    units: tuple[int, ...]
    p: float | None


class Day(msgspec.Struct, frozen=True):
    """Units that were first exposed on one day, and the mismatch until then."""

    day: date
    arms: tuple[str, ...]
    units: tuple[int, ...]
    srm_p: float | None


class Step(msgspec.Struct, frozen=True):
    """The primary metric's relative difference, of the units that were first exposed up to a day."""

    day: date
    treatment: str
    units: int
    value: float | None
    interval: Interval | None


class ArmLoss(msgspec.Struct, frozen=True):
    """What became of one arm's exposures."""

    name: str
    kept: int
    """In the journal."""
    lost: int
    """As far as it is known whose they were."""


class Soundness(msgspec.Struct, frozen=True):
    """Whether the data can be believed."""

    srm_p: float | None
    """The least of all: in total and by epoch, of all units and of those that are not excluded."""
    srm_e: float | None
    """The sequential e-value of all units' first exposures, in all epochs: 1,000 or more is a mismatch."""
    epochs: tuple[EpochSplit, ...]
    days: tuple[Day, ...]
    units: int
    excluded: int
    """Taken for robots."""
    immature: int
    """Whose longest window is open."""
    moved: int
    """Assigned to another arm as well, later; they count for the first."""
    exposures: int
    fallbacks: int
    failed: int
    offered: int
    """Records that gateways offered to the journal."""
    lost: int
    """Of those, dropped or missing."""
    losses: tuple[ArmLoss, ...]
    lost_unknown: int
    """Of the lost records those of which nobody knows whose they were: a process died with them, or an earlier gateway
    lost them."""
    clumping: float
    """How many exposures the unit of an exposure has, on average."""
    others: dict[str, int]
    """Records of the route that are no exposures, by why."""
    outcomes: int
    duplicates: int
    quarantined: int
    nobodys: int
    strangers: int
    early: int
    unreadable: dict[str, str]


class Novelty(msgspec.Struct, frozen=True):
    """The primary metric's relative difference of the first week's units and of later ones."""

    treatment: str
    first_week: float | None
    later: float | None


class Added(msgspec.Struct, frozen=True):
    """A metric that was added after the start."""

    metric: str
    at: datetime
    by: str
    definition: dict[str, Any]


class Findings(msgspec.Struct, frozen=True):
    """All that an analysis says."""

    format: int
    experiment: str
    question: str
    route: str
    definition_digest: str
    definition: dict[str, Any]
    """All that was asked, as it is in JSON."""
    frozen: bool
    """Whether the definition was fixed when the experiment started; if not, it may have been chosen after looking."""
    added: tuple[Added, ...]
    """What the definition does not have."""
    marks: tuple[str, ...]
    """What a reader must know of how it came about."""
    method: str
    alpha: float
    planned_units: int
    start: datetime
    stop: datetime
    as_of: datetime
    digests: dict[str, str]
    """Of what was read, and of the SQL."""
    verdicts: tuple[Verdict, ...]
    comparisons: tuple[Comparison, ...]
    soundness: Soundness
    sequence: tuple[Step, ...]
    novelty: tuple[Novelty, ...]
    sql: str
    """Every statement, to run oneself."""
