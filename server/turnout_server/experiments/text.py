"""An experiment as people write it: YAML in, a definition or a placed error out."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Any

import msgspec

from turnout_server.experiments.definition import Experiment, InvalidExperimentError, check, digest_of
from turnout_server.experiments.metric import Metric
from turnout_server.routing.text import document
from turnout_server.vocabulary.names import NAME_PATTERN

_PLACED = re.compile(r"(?P<problem>.*) - at `(?P<place>\$.*)`", re.DOTALL)


def parse(text: str) -> Experiment:
    """Read one experiment.

    Raises:
        InvalidExperimentError: the text is not YAML, or not an experiment; the error names the place.
    """
    return convert(document(text, InvalidExperimentError))


def convert(found: Any) -> Experiment:
    """Build an experiment from a document as read from YAML or JSON.

    Raises:
        InvalidExperimentError: anything is wrong with it.
    """
    if not isinstance(found, dict):
        raise InvalidExperimentError("$", "expected a mapping with an experiment's fields")
    known = _metrics(found.get("metrics", {}))
    others = {key: _midnight(value) for key, value in found.items() if key != "metrics"}
    experiment: Experiment = _typed(others, Experiment, "$")
    start, stop = _in_utc(experiment.start, "$.start"), _in_utc(experiment.stop, "$.stop")
    experiment = msgspec.structs.replace(experiment, metrics=known, start=start, stop=stop)
    check(experiment)
    _written(experiment)
    return experiment


def metrics_in(text: str) -> dict[str, Metric]:
    """Read metrics by themselves, as they stand below `metrics`.

    Raises:
        InvalidExperimentError: the text is not YAML, or not such a mapping; the error names the place.
    """
    return _metrics(document(text, InvalidExperimentError))


def _metrics(found: Any) -> dict[str, Metric]:
    if not isinstance(found, dict):
        raise InvalidExperimentError("$.metrics", "expected a mapping of names to metrics")
    # One by one, since a place in a mapping of all would not say which.
    return {_name(name): _typed(body, Metric, f"$.metrics.{name}") for name, body in found.items()}


def _written(experiment: Experiment) -> None:
    """Check that all of it can be written: YAML has escapes for what no UTF-8 has."""
    try:
        digest_of(experiment)
    except UnicodeEncodeError as error:
        raise InvalidExperimentError("$", f"found {error.object!r}, with half a surrogate pair") from error


def _midnight(found: Any) -> Any:
    """Return a date, which YAML knows, as the moment in which it begins."""
    return datetime.combine(found, time()) if isinstance(found, date) and not isinstance(found, datetime) else found


def _in_utc(moment: datetime | None, place: str) -> datetime | None:
    if moment is None:
        return None
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:
        problem = f"found {moment.isoformat()}; in UTC it is before the year 1, or after 9999"
        raise InvalidExperimentError(place, problem) from error


def _typed(found: Any, wanted: Any, place: str) -> Any:
    try:
        return msgspec.convert(found, wanted)
    except UnicodeEncodeError as error:
        raise InvalidExperimentError(place, f"found {error.object!r}, with half a surrogate pair") from error
    except msgspec.ValidationError as error:
        placed = _PLACED.fullmatch(str(error))
        below = placed["place"].removeprefix("$") if placed else ""
        raise InvalidExperimentError(place + below, placed["problem"] if placed else str(error)) from error


def _name(found: Any) -> str:
    if not isinstance(found, str) or re.fullmatch(NAME_PATTERN, found) is None:
        raise InvalidExperimentError(f"$.metrics.{found}", f"the name is not allowed; it must match {NAME_PATTERN}")
    return found
