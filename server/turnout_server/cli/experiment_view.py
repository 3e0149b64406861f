"""What `turnout experiment` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from turnout_server.cli import enrolment, output, results
from turnout_server.experiments import words
from turnout_server.experiments.grants import spans

if TYPE_CHECKING:
    from turnout_server.experiments.definition import Experiment
    from turnout_server.experiments.findings import Comparison, Findings
    from turnout_server.experiments.grants import Grant
    from turnout_server.experiments.planning import Power
    from turnout_server.experiments.rollout import Standing
    from turnout_server.experiments.started import Arm, Started, Stopped


def show(found: Findings) -> None:
    """Print an analysis: first the verdict, then whether to believe it, then the numbers."""
    for verdict in found.verdicts:
        results.say(words.sentence(found, verdict))
    output.say()
    for line in _belief(found):
        results.say(line)
    output.say()
    rows = [_row(each) for each in found.comparisons]
    columns = ["metric", "role", "treatment", words.control(found), "treatment", "change", "interval", "p"]
    if len(found.verdicts) == 1:  # whose column says it
        columns = [*columns[:2], columns[3], found.verdicts[0].treatment, *columns[5:]]
        rows = [(*row[:2], *row[3:]) for row in rows]
    results.show(columns, rows, right=[name for name in columns if name not in ("metric", "role", "interval")])
    for each in found.comparisons:
        if each.silence:
            results.say(f"{each.metric}: {each.silence}")
    for mark in found.marks:
        output.note(f"note: {mark}")


def _belief(found: Findings) -> list[str]:
    sound = found.soundness
    mismatch = "not checked" if sound.srm_p is None else f"p = {sound.srm_p:.3g}"
    counted = sound.units - sound.excluded - sound.immature
    lost = f"{sound.lost / sound.offered:.2%}" if sound.offered else "unknown"
    each = ", ".join(f"{arm.name} {arm.lost:,} of {arm.kept + arm.lost:,}" for arm in sound.losses)
    unknown = f"; of {sound.lost_unknown:,} records nobody knows whose they were" if sound.lost_unknown else ""
    by_arm = [f"exposures lost: {each}{unknown}"] if sound.lost else []
    return [
        f"as of {found.as_of:%Y-%m-%d %H:%M} UTC, {found.method}, alpha {found.alpha:g}",
        f"units {sound.units:,}: {counted:,} count, {sound.immature:,} immature, {sound.excluded:,} excluded, "
        f"{sound.moved:,} in two arms",
        f"split {mismatch}; records lost {lost}; exposures {sound.exposures:,}, {sound.fallbacks:,} by fallback, "
        f"{sound.failed:,} failed",
        *by_arm,
        f"outcomes {sound.outcomes:,}: {sound.duplicates:,} repeated, {sound.quarantined:,} contradict themselves, "
        f"{sound.nobodys + sound.strangers:,} of nobody here, {sound.early:,} before exposure",
    ]


def _row(each: Comparison) -> tuple[object, ...]:
    is_relative = each.relative.interval is not None or each.absolute.interval is None
    shown = each.relative if is_relative else each.absolute
    p = each.p if each.adjusted_p is None else each.adjusted_p
    return (
        each.metric,
        "added" if each.added else each.role,
        each.treatment.name,
        words.level(each.control.value, each.kind),
        words.level(each.treatment.value, each.kind),
        words.change(shown.value, each.kind, is_relative=is_relative),
        words.interval(shown.interval, each.kind, is_relative=is_relative),
        words.p_value(p),
    )


def document(found: Findings) -> None:
    """Print all of an analysis as JSON, the same bytes for the same findings."""
    import msgspec

    output.say(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


def status(found: Findings, standing: Standing | None, form: Literal["table", "json", "prometheus"]) -> None:
    """Print how an experiment goes, and nothing of outcomes' values."""
    if form == "json":
        import msgspec

        document = msgspec.to_builtins(found.soundness) | {"added": msgspec.to_builtins(found.added)}
        if standing is not None:
            steps = [msgspec.to_builtins(step) for step in standing.steps]
            document["enrolment"] = {**enrolment.document(standing), "steps": steps}
        output.json(document)
        return
    if form == "prometheus":
        from turnout_server.experiments import textfile

        output.say(textfile.render(found).rstrip("\n"))
        return
    for line in _belief(found):
        results.say(line)
    for line in _enrolment(standing) if standing is not None else ():
        results.say(line)
    output.say()
    rows = [
        (split.epoch, arm, units, "-" if split.weights is None else output.percent(split.weights[index]))
        for split in found.soundness.epochs
        for index, (arm, units) in enumerate(zip(split.arms, split.units, strict=True))
    ]
    results.show(("epoch", "arm", "units", "expected"), rows, right=("units", "expected"))
    for mark in found.marks:
        output.note(f"note: {mark}")


def _enrolment(standing: Standing) -> Iterator[str]:
    yield enrolment.described(standing)
    for step in standing.steps:
        share = "paused" if step.resumes_at is not None else f"enrolment {output.percent(step.enrolment or 0.0)}"
        why = f": {step.why}" if step.why else ""
        yield f"  {step.at[:16].replace('T', ' ')} UTC {share}, {step.by}{why}"
    if standing.overruled:
        yield f"the last of it is not in force: {standing.overruled}"


def stopped(started: Started, cools_until: datetime, stopped: Stopped, *, json: bool) -> None:
    """Print that an experiment was stopped, and what that leaves."""
    name = started.experiment.name
    layer = started.experiment.layer if started.buckets else None
    if json:
        output.json({"experiment": name, "stopped": stopped.at, "buckets_free": cools_until if layer else None})
        return
    output.say(f"stopped {name}")
    if layer:
        held = f"buckets {spans(started.buckets)} of layer {layer}"
        output.note(f"{held} are free from {cools_until:%Y-%m-%d %H:%M} UTC on")
    if stopped.steps:
        share = "paused" if stopped.steps[-1].resumes_at is not None else "at the enrolment that it has"
        route = started.experiment.route
        output.note(f"route {route} stays {share} until its experiment is changed in the route table")


def plan(wanted: Experiment, arms: Sequence[Arm], planned: Power | None, *, json: bool) -> None:
    """Print a definition that is in order."""
    if json:
        power_of = None if planned is None else planned._asdict()
        output.json({"experiment": wanted.name, "arms": [_arm(arm) for arm in arms], "power": power_of})
        return
    output.table(("arm", "model", "version", "weight"), [(a.name, a.model, a.version, f"{a.weight:g}") for a in arms])
    output.say()
    if planned is None:
        results.say(f"{wanted.primary} has no baseline, so nobody knows what {wanted.units:,} units can show")
    else:
        _say_power(wanted, planned)


def _arm(arm: Arm) -> dict[str, object]:
    return {"name": arm.name, "model": arm.model, "version": arm.version, "weight": arm.weight}


def power(wanted: Experiment, planned: Power, units_a_day: float | None, *, json: bool) -> None:
    """Print what an experiment needs."""
    from turnout_server.statistics.power import days

    needed = planned.needed or planned.planned
    window_days = wanted.window_s(wanted.primary) / 86_400
    lasts = None if units_a_day is None else days(needed, units_a_day, window_days)
    if json:
        output.json({**planned._asdict(), "days": lasts})
        return
    _say_power(wanted, planned)
    if lasts is not None:
        results.say(f"{needed:,} units at {units_a_day:,.0f} a day take {lasts} days, the last one's window included")


def _say_power(wanted: Experiment, planned: Power) -> None:
    method = "at any look" if wanted.method == "sequential" else "at the end"
    sure = f"with probability {wanted.power:.0%}, {method}, at alpha {wanted.alpha:g}"
    if planned.detectable is None:
        results.say(
            f"{planned.planned:,} units find no change in {wanted.primary} {sure}: the larger it is, the more units "
            "vary; a cap, or more units, are the remedy"
        )
    else:
        results.say(f"{planned.planned:,} units find a change of {planned.detectable:.2%} in {wanted.primary}, {sure}")
    if planned.needed is not None:
        results.say(f"a change of {wanted.minimal_effect:.2%} takes {planned.needed:,} units")


def listing(
    found: Sequence[tuple[Started, Stopped | None]], holding: Mapping[str, tuple[Grant, datetime | None]], *, json: bool
) -> None:
    """Print the experiments of a store."""
    rows = [
        (
            started.experiment.name,
            started.experiment.route,
            f"{started.experiment.start:%Y-%m-%d %H:%M}" if started.experiment.start else None,
            f"{stopped.at:%Y-%m-%d %H:%M}" if stopped else None,
            started.digest[:12],
            _held(*holding[started.experiment.name]) if started.experiment.name in holding else None,
        )
        for started, stopped in found
    ]
    columns = ("experiment", "route", "started", "stopped", "definition", "buckets")
    if json:
        results.json(columns, rows)
    elif rows:
        results.show(columns, rows, empty=False)
    else:
        output.note("no experiment was started")


def _held(grant: Grant, until: datetime | None) -> str | None:
    """Say which buckets an experiment has, and until when where it has been stopped."""
    if grant.layer is None:
        return None
    ends = "" if until is None else f", free {until:%Y-%m-%d %H:%M}"
    return f"{grant.layer} {spans(grant.buckets)}{ends}"
