"""Plots of findings, each beside the table of what it shows, as HTML. Pure.

What would make a page too long is left out from the end, or by days, and the page says so: all of it is in the JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from turnout_server.experiments import markup, plots, words
from turnout_server.experiments.findings import Comparison, Difference, EpochSplit, Findings, Step
from turnout_server.experiments.plots import Point, Row, Scale
from turnout_server.experiments.timeline import part
from turnout_server.statistics.srm import MISMATCH

MOST_COMPARISONS = 500
MOST_EPOCHS = 200
"""Epochs times treatments."""
MOST_STEPS = 1_100
"""Days times treatments: a year of three."""
CHUNK = 16
"""Rows of one plot, so that it fits on a sheet of paper."""

T = TypeVar("T")


# ---------------------------------------------------------------- effects


def effects(found: Findings) -> str:
    """Show every metric and treatment: relative differences on one scale, and absolute ones where nothing else is."""
    shown = found.comparisons[:MOST_COMPARISONS]
    several = len(found.verdicts) > 1
    relative = [each for each in shown if not _is_absolute(each)]
    primary = [each for each in relative if each.role == "primary"]
    figures = []
    if relative:
        rows = [row(each, several=several) for each in relative]
        room = plots.scale(_ends(rows), _ends([row(each, several=several) for each in primary]))
        caption = "Change in percent of control's value, with its interval."
        figures += [_forest(chunk, room, caption, is_share=True) for chunk in _chunks(rows)]
    for metric in dict.fromkeys(each.metric for each in shown if _is_absolute(each)):
        rows = [row(each, several=several) for each in shown if _is_absolute(each) and each.metric == metric]
        caption = f"{metric}: treatment less control, in the metric's own unit, since nothing is relative to control."
        figures += [_forest(chunk, plots.scale(_ends(rows)), caption, is_share=False) for chunk in _chunks(rows)]
    columns = ("metric", "treatment", "control", "value", "change", "interval", "p", "what it is")
    table = markup.table(
        "Every metric and treatment. P-values are adjusted over treatments for the primary metric (Holm), over all "
        "that is exploratory (Benjamini and Hochberg; what was added later changes nothing of what was fixed), and not "
        "for guardrails.",
        columns,
        _lines(shown),
        heads=2,
        words=("what it is",),
        tall=True,
    )
    legend = markup.text(
        "A dot is the value, and the line what the data do not contradict. A red mark is a margin: beyond it is harm. "
        "Dashed and hollow is exploratory: it decides nothing. An arrow at the edge: there is more beyond it. "
        "↓: less is better."
    )
    return legend + markup.beside(figures, table) + _left_out(len(found.comparisons) - len(shown), "comparisons")


def _is_absolute(each: Comparison) -> bool:
    return each.relative.interval is None and each.absolute.interval is not None


def _shown(each: Comparison) -> Difference:
    return each.absolute if _is_absolute(each) else each.relative


def row(each: Comparison, *, several: bool = False) -> Row:
    """Return what is drawn of a comparison: nothing where nothing is said.

    Args:
        each: the comparison.
        several: whether there are other treatments, so that this one has to be named.
    """
    shown = _shown(each)
    names = [f"{each.metric} ↓" if each.better == "down" else each.metric, *([each.treatment.name] if several else [])]
    label = _label(names, f" ({_role(each)})" if _role(each) else "")
    if shown.interval is None:
        return Row(label, None, is_exploratory=each.exploratory)
    return Row(label, shown.value, shown.interval.low, shown.interval.high, _harm(each), each.exploratory)


def _label(names: Sequence[str], mark: str = "") -> str:
    """Return names in a row; where there is no room for all of them the longest are shortened."""
    sizes = [len(name) for name in names]
    while sum(sizes) + 3 * (len(sizes) - 1) + len(mark) > plots.MOST_LABEL:
        sizes[sizes.index(max(sizes))] -= 1
    return " · ".join(plots.shortened(name, size) for name, size in zip(names, sizes, strict=True)) + mark


def _role(each: Comparison) -> str:
    said = {"guardrail": "guardrail", "secondary": "exploratory"}.get(each.role, "")
    return f"{said}, added" if each.added else said


def _harm(each: Comparison) -> float | None:
    """Return where harm begins; what decides nothing does none."""
    if each.role == "secondary":
        return None
    size = each.margin * (abs(each.control.value or 0.0) if _is_absolute(each) else 1.0)
    return (size if each.better == "down" else -size) if size else None


def _lines(shown: Sequence[Comparison]) -> Iterator[tuple[str | None, ...]]:
    for before, each in zip((None, *shown), shown, strict=False):
        difference, is_relative = _shown(each), not _is_absolute(each)
        is_same = before is not None and before.metric == each.metric
        yield (
            None if is_same else each.metric,
            each.treatment.name,
            words.level(each.control.value, each.kind),
            words.level(each.treatment.value, each.kind),
            words.change(difference.value, each.kind, is_relative=is_relative),
            words.interval(difference.interval, each.kind, is_relative=is_relative),
            words.p_value(each.p if each.adjusted_p is None else each.adjusted_p),
            None if before is not None and is_same and _what(before) == _what(each) else _what(each),
        )


def _what(each: Comparison) -> str:
    role = "exploratory" if each.exploratory else _role(each) or "primary"
    known = [role, each.kind, "more is better" if each.better == "up" else "less is better"]
    if each.added:
        known.append(f"added {words.moment(each.added)}, after the start")
    if each.role != "secondary":
        known.append(f"margin {each.margin * 100:g}%")
    if each.silence:
        known.append(f"silent: {each.silence}")
    return ", ".join(known)


# ---------------------------------------------------------------- over time


def sequence(found: Findings) -> str:
    """Show the primary metric's interval as a look on each day would have seen it, treatment by treatment."""
    if not found.sequence:
        once = "A fixed analysis is made once, at its planned end: nobody has looked at it before."
        return markup.text(once if found.method == "fixed" else "No unit counts yet.")
    primary = found.comparisons[0]
    most = max(MOST_STEPS // len(found.verdicts), 1)
    parts = [markup.text(f"{primary.metric}, as a look at the units that were first exposed up to each day.")]
    for verdict in found.verdicts:
        steps = [each for each in found.sequence if each.treatment == verdict.treatment]
        if steps:
            shown = thinned(steps, most)
            parts += [_steps(verdict.treatment, primary, shown), _left_out(len(steps) - len(shown), "days")]
    return "".join(parts)


def _steps(treatment: str, primary: Comparison, steps: Sequence[Step]) -> str:
    name = f"{treatment}: change of {primary.metric}, up to each day"
    points = [
        Point(each.day, each.value, each.interval.low, each.interval.high) if each.interval else Point(each.day, None)
        for each in steps
    ]
    rows = (
        (
            each.day.isoformat(),
            f"{each.units:,}",
            words.change(each.value, primary.kind, is_relative=True),
            words.interval(each.interval, primary.kind, is_relative=True),
        )
        for each in steps
    )
    harm = primary.margin if primary.better == "down" else -primary.margin
    about = f"{treatment} against {primary.control.name}. Dashed: the margin."
    plot = markup.figure(plots.band(points, name, harm), about)
    return markup.beside([plot], markup.table(name, ("up to", "units", "change", "interval"), rows))


def days(found: Findings) -> str:
    """Show the units of each arm up to each day, and whether they were split as promised."""
    known = found.soundness.days
    if not known:
        return markup.text("No unit was exposed.")
    arms = known[0].arms
    totals = list(_totals([each.units for each in known]))
    most = max(2 * MOST_STEPS // len(arms), 1)
    both = thinned(list(zip(known, totals, strict=True)), most)
    shown = [day.day for day, _ in both]
    key = "".join(f"<li>{plots.swatch(index)} {markup.escaped(arm)}\n" for index, arm in enumerate(arms))
    by_arm = [[units[index] for _, units in both] for index in range(len(arms))]
    checked = [Point(day.day, day.srm_p) for day, _ in both]
    figures = (
        markup.figure(
            plots.totals(shown, by_arm, "Units by arm, up to each day"),
            "Units that were first exposed up to each day, by arm.",
            f"<ul class=key>\n{key}</ul>\n",
        ),
        markup.figure(
            plots.p_values(checked, MISMATCH, "P-value of the split, up to each day"),
            f"P-value of the split (SRM), of all units up to each day. Dashed: {MISMATCH:g}, below which it is broken.",
        ),
    )
    rows = ((day.day.isoformat(), *(f"{each:,}" for each in units), _checked(day.srm_p)) for day, units in both)
    table = markup.table("Units and the split's p-value, up to each day", ("up to", *arms, "SRM p"), rows)
    return markup.beside(figures, table) + _left_out(len(known) - len(both), "days")


def _totals(units: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    so_far = [0] * len(units[0])
    for today in units:
        so_far = [total + each for total, each in zip(so_far, today, strict=True)]
        yield tuple(so_far)


def _checked(p: float | None) -> str:
    return "not checked" if p is None else words.p_value(p)


def splits(found: Findings) -> str:
    """Show what arms got in each epoch, beside what they should have got."""
    known = found.soundness.epochs
    shown = known[: max(MOST_EPOCHS // len(found.verdicts), 1)]
    rows = (
        (_epoch(each.epoch), words.moment(each.first), words.moment(each.last), _split(each), _checked(each.p))
        for each in shown
    )
    columns = ("epoch", "first exposure", "last exposure", "units", "SRM p")
    return markup.table("Units by epoch", columns, rows, words=("units",)) + _left_out(
        len(known) - len(shown), "epochs"
    )


def _split(each: EpochSplit) -> str:
    whole = sum(each.weights or ())
    due = ["unknown"] * len(each.arms) if not each.weights else [words.percent(part / whole) for part in each.weights]
    return "; ".join(
        f"{arm} {units:,} (due {share})" for arm, units, share in zip(each.arms, each.units, due, strict=True)
    )


# ---------------------------------------------------------------- parts of the effect


def epochs(found: Findings) -> str:
    """Show the primary metric's difference within each epoch, for looking whether epochs agree."""
    primary = [each for each in found.comparisons if each.role == "primary"]
    known = [(comparison, each) for comparison in primary for each in comparison.epochs]
    if not known:
        return markup.text("No epoch compares yet.")
    shown = known[:MOST_EPOCHS]
    several = len(primary) > 1
    marks = [
        Row(
            _label([*([comparison.treatment.name] if several else []), _epoch(each.epoch)]),
            part(each.treatment, each.control),
        )
        for comparison, each in shown
    ]
    rows = (
        (
            comparison.treatment.name,
            _epoch(each.epoch),
            f"{each.control_units:,}",
            f"{each.treatment_units:,}",
            words.level(each.control, comparison.kind),
            words.level(each.treatment, comparison.kind),
            words.change(mark.value, comparison.kind, is_relative=True),
        )
        for (comparison, each), mark in zip(shown, marks, strict=True)
    )
    columns = ("treatment", "epoch", "control units", "treatment units", "control", "value", "change")
    table = markup.table(f"{primary[0].metric} within each epoch", columns, rows, heads=2)
    caption = f"Change of {primary[0].metric} within each epoch, without intervals."
    return _dots(marks, caption, table) + _left_out(len(known) - len(shown), "epochs")


def novelty(found: Findings) -> str:
    """Show the primary metric's difference of the first week's units beside later ones'."""
    if not found.novelty:
        return markup.text("Nothing is known yet.")
    kind = found.comparisons[0].kind
    marks = [
        Row(_label([each.treatment, when]), value)
        for each in found.novelty
        for when, value in (("first week", each.first_week), ("later", each.later))
    ]
    rows = (
        (each.treatment, *(words.change(value, kind, is_relative=True) for value in (each.first_week, each.later)))
        for each in found.novelty
    )
    metric = found.comparisons[0].metric
    table = markup.table(f"Change of {metric}, by when units came", ("treatment", "first week", "later"), rows)
    return _dots(marks, f"Change of {metric} of the first week's units, and of those that came later.", table)


def covariates(found: Findings) -> str:
    """Show what covariates have left of metrics' variances."""
    left = {each.metric: each.theta_variance_left for each in found.comparisons}
    known = {metric: share for metric, share in left.items() if share is not None}
    if not known:
        return markup.text("No metric has a covariate that could be used.")
    rows = (
        (metric, words.percent(share), f"{1 / share:,.3g} times the units" if share > 0 else "any number")
        for metric, share in known.items()
    )
    columns = ("metric", "variance left", "which is worth")
    return markup.table("What the covariate leaves of each metric's variance", columns, rows)


# ---------------------------------------------------------------- pieces


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """Return at most so many items, at least 1, at equal distances back from the last."""
    return items[:: -max(-(-len(items) // most), 1)][::-1]


def _dots(marks: Sequence[Row], caption: str, table: str) -> str:
    room = plots.scale(_ends(marks))
    return markup.beside([_forest(chunk, room, caption, is_share=True) for chunk in _chunks(marks)], table)


def _forest(rows: Sequence[Row], room: Scale, caption: str, *, is_share: bool) -> str:
    name = f"{caption} The table beside it has the numbers."
    return markup.figure(plots.forest(rows, room, name, is_share=is_share), caption)


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


def _ends(rows: Sequence[Row]) -> list[float]:
    return [each for row in rows for each in plots.finite((row.value, row.low, row.high, row.harm))]


def _epoch(name: str) -> str:
    return name or "(no epoch)"


def _left_out(count: int, what: str) -> str:
    return markup.text(f"{count:,} {what} are left out here; analyse --format json has them all.") if count else ""
