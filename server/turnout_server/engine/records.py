"""What the native data plane says of the requests and runs that ended there."""

from __future__ import annotations

from typing import Any, NamedTuple

from turnout_server.instruments.families import Counted
from turnout_server.instruments.statistics import Alike, RunsAlike
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.record import Page

Told = tuple[list[Any], list[Any], list[Any], list[Any], Page | None]
"""What `turnout_engine.Plane.ended` returns: decisions, requests that ended alike, runs that did, failures of models,
and the records themselves."""


class NativeRuns(NamedTuple):
    """Runs of one version's graph that were alike."""

    servable: int
    """The servable's number."""
    runs: RunsAlike


class NativeRequests(NamedTuple):
    """Requests of one method that ended alike."""

    method: str
    told: str
    """The reason that their callers were told, or `OK`. Other than the record's code where a model's answer was none to
    the call."""
    requests: Alike


class Problem(NamedTuple):
    """A model's failure, for the log."""

    method: str
    code: str
    text: str
    """What ONNX Runtime said."""
    model: str
    version: int
    """Whose it is."""
    context: tuple[str, str] | None
    """The ids of the call's trace and span, or its caller's, in hexadecimal."""


class Ended(NamedTuple):
    """What has ended since somebody last asked."""

    requests: list[NativeRequests]
    runs: list[NativeRuns]
    problems: list[Problem]
    page: Page | None
    """The records themselves; None where nobody keeps any, or none came."""


def ended(told: Told) -> Ended:
    """Return what the engine has *told*."""
    decisions = [decision_of(*each) for each in told[0]]
    return Ended(
        [_requests(decisions, *each) for each in told[1]],
        [_runs(*each) for each in told[2]],
        [Problem(*each) for each in told[3]],
        told[4],
    )


def decision_of(
    route: str,
    target: str,
    model: str,
    version: int,
    reason: str,
    assigned: str,
    override: int,
    propensity: float | None,
    digest: str,
    epoch: str,
    enrolment: tuple[str, str, bool | None],
) -> Decision:
    """Return a decision as the engine tells it; it takes only such as are available."""
    told = (route, target, model, version, Reason[reason], assigned, override, propensity, digest, epoch)
    return Decision(*told, True, *enrolment)


def _requests(
    decisions: list[Decision],
    decision: int,
    code: str,
    call: tuple[str, str],
    took: tuple[list[int], int],
    queue: tuple[list[int], int],
    rows: int,
    last_ns: int,
    sums: tuple[int, int, int, int],
) -> NativeRequests:
    alike = Alike(decisions[decision], code, Counted(*took), Counted(*queue), rows, last_ns, *sums)
    return NativeRequests(*call, alike)


def _runs(
    servable: int,
    rows: int,
    size: int,
    failed: bool,
    infer: tuple[list[int], int],
    best_ns: int,
    input_ns: int,
    output_ns: int,
) -> NativeRuns:
    return NativeRuns(servable, RunsAlike(rows, size, failed, Counted(*infer), best_ns, input_ns, output_ns))
