"""The ends of requests that the native data plane served, as the records that everybody reads."""

from __future__ import annotations

from typing import NamedTuple

from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.record import Record, Timing

Told = tuple[list[tuple[object, ...]], list[tuple[object, ...]], list[tuple[object, ...]]]
"""What `turnout_engine.Plane.ended` returns: decisions, records, runs."""


class NativeRun(NamedTuple):
    """One run of a graph. Durations are in nanoseconds."""

    servable: int
    """The servable's number."""
    rows: int
    size: int
    """What its run time grows with."""
    input_ns: int
    infer_ns: int
    output_ns: int
    failed: bool


class NativeEnd(NamedTuple):
    """One request's end."""

    record: Record
    problem: str
    """What ONNX Runtime said of a model that failed, for the log; empty for all others."""


class Ended(NamedTuple):
    """What has ended since somebody last asked, in order."""

    ends: list[NativeEnd]
    runs: list[NativeRun]


def ended(told: Told) -> Ended:
    """Return what the engine has *told*."""
    decisions = [_decision(*each) for each in told[0]]  # type: ignore[arg-type]
    return Ended([_end(decisions, *each) for each in told[1]], [NativeRun(*each) for each in told[2]])  # type: ignore[arg-type]


def _decision(
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
) -> Decision:
    return Decision(
        route, target, model, version, Reason[reason], assigned, override, propensity, digest, epoch, available=True
    )


def _end(
    decisions: list[Decision],
    number: int,
    arrived_ns: int,
    took_ns: int,
    code: str,
    decision: int,
    unit: str,
    request_id: str,
    rows: int,
    timing: tuple[int, int, int, int, int, int] | None,
    traceparent: str,
    problem: str,
) -> NativeEnd:
    by = decisions[decision]
    when = None if timing is None else Timing(*timing)
    record = Record(
        number, arrived_ns, took_ns, code, by, by.route, unit, request_id, rows, when, traceparent=traceparent
    )
    return NativeEnd(record, problem)
