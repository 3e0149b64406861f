"""The SQL that an experiment is analysed by: one set of templates, filled with one experiment's values.

The statements build on each other: each of `STEPS` is a relation that later ones read, and the others are questions.
They are in the words of DuckDB that other engines have too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib import resources

from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.metric import Part, parts

VIEWS = ("parts", "eligible")
"""Relations that are cheap to make anew."""
STEPS = ("parts", "eligible", "units", "contents", "known", "numbers")
"""Relations, in the order in which they need each other."""
QUESTIONS = ("moments", "assigned", "exposures", "fates", "copies", "others", "keys")
ZONE = "SET TimeZone = 'UTC'"
"""Days are of this zone, and a connection of one's own may have another."""

_MICROSECONDS = 1_000_000
_WHOLE = 2**60
_FIELD = re.compile(r"\{(\{|[a-z_]+\})|\}\}")
_MOST_EXPOSURES = 2**62


@dataclass(frozen=True, slots=True)
class Period:
    """What is looked at. Times have a zone."""

    start: datetime
    stop: datetime
    """No unit enters from here on."""
    as_of: datetime
    """What was not known then does not count."""


def statement(name: str, experiment: Experiment, period: Period, more: Mapping[str, str] | None = None) -> str:
    """Return one statement, filled in.

    Args:
        name: of `STEPS`, of `QUESTIONS`, or `quantile`.
        experiment: whose names, windows and caps are filled in.
        period: what is looked at.
        more: other fields, as SQL.
    """
    fields = _fields(experiment, period) | dict(more or {})

    def filled(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        return fields[found[1][:-1]]

    return _FIELD.sub(filled, _template(name)).strip()


def script(experiment: Experiment, period: Period) -> str:
    """Return every statement, so that anybody who has `records` and `outcomes` can run them."""
    made = [
        f"CREATE {'VIEW' if name in VIEWS else 'TABLE'} {name} AS\n{statement(name, experiment, period)};"
        for name in STEPS
    ]
    asked = [f"{statement(name, experiment, period)};" for name in QUESTIONS]
    return "\n\n".join([f"{ZONE};", *made, *asked]) + "\n"


def ranks(experiment: Experiment, period: Period, metric: str, wanted: Sequence[tuple[str, str, int]]) -> str:
    """Return the statement for the values of some ranks of a metric: (epoch, arm, rank) each."""
    places = ", ".join(f"({text(epoch)}, {text(arm)}, {place})" for epoch, arm, place in wanted)
    window_us = experiment.window_s(metric) * _MICROSECONDS
    return statement(
        "quantile", experiment, period, {"metric": text(metric), "window_us": str(window_us), "ranks": places}
    )


def text(value: str) -> str:
    """Return *value* as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def moment(value: datetime) -> str:
    """Return a time with a zone as SQL writes it."""
    return f"CAST({text(value.isoformat(sep=' ', timespec='microseconds'))} AS TIMESTAMPTZ)"


@lru_cache
def _template(name: str) -> str:
    return (resources.files("turnout_server.experiments") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _fields(experiment: Experiment, period: Period) -> dict[str, str]:
    exclude = experiment.exclude
    named = [(name, part) for name in experiment.roles for part in _parts(name, experiment)]
    spans = [(part.outcome, part.begin_s, part.end_s, experiment.window_s(name)) for name, part in named]
    rows = [_row(spans.index(span), name, part, span) for span, (name, part) in zip(spans, named, strict=True)]
    outcomes = {part.outcome for _, part in named}
    longest = max(experiment.window_s(name) for name in experiment.roles)
    products = {"value": "m.value / s.scale", "x": "x", "xx": "x * x", "y": "y", "yy": "y * y", "xy": "x * y"}
    return {
        "name": text(experiment.name),
        "route": text(experiment.route),
        "arms": ", ".join(map(text, experiment.arms)),
        "start": moment(period.start),
        "stop": moment(period.stop),
        "as_of": moment(period.as_of),
        "exposures_most": str(exclude.exposures_over if exclude else _MOST_EXPOSURES),
        "window_us": str(longest * _MICROSECONDS),
        "parts": ",\n             ".join(rows),
        "outcomes": ", ".join(map(text, sorted(outcomes))),
        **{f"total_of_{name}": _total(term) for name, term in products.items()},
    }


def _parts(name: str, experiment: Experiment) -> tuple[Part, ...]:
    return parts(experiment.metrics[name], experiment.window_s(name))


def _row(no: int, name: str, part: Part, span: tuple[str, int, int, int]) -> str:
    cap = "CAST(NULL AS DOUBLE)" if part.cap is None else f"CAST({part.cap!r} AS DOUBLE)"
    outcome, *ends = span
    times = ", ".join(f"CAST({seconds * _MICROSECONDS} AS BIGINT)" for seconds in ends)
    return f"({no}, {text(name)}, {text(part.part)}, {text(outcome)}, {text(part.aggregate)}, {cap}, {times})"


def _total(term: str) -> str:
    """Return the exact sum of a term of at most 1: in whole numbers, whose sum does not depend on their order."""
    whole = f"CAST(CAST(ROUND({term} * {_WHOLE}) AS BIGINT) AS DECIMAL(38, 0))"
    return f"CAST(SUM({whole}) AS DOUBLE) / {_WHOLE}"
