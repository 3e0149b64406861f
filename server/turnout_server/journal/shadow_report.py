"""What mirrors would have answered: each copy beside the request that it copies, in figures by model and version.

A copy names the record that it copies by instance, boot and number; request ids are the callers', who repeat them.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from turnout_server.journal import reading

DEFAULT_THRESHOLD = 0.1
"""A price that is off by more than this share counts as far off."""
WORST = 10
"""How many pairs are shown."""

# A note is why there was nothing to compare, or, of the worst pairs, a JSON object with both answers and that, if any.
_PAIRS = """
WITH mine AS (
    SELECT *,
        CASE WHEN starts_with(shadow_note, '{') THEN json_extract_string(shadow_note, '$.note') ELSE shadow_note END
            AS why,
        shadow_overlap IS NOT NULL OR shadow_tau IS NOT NULL OR shadow_top1 IS NOT NULL OR shadow_delta IS NOT NULL
            OR shadow_absolute IS NOT NULL OR shadow_relative IS NOT NULL OR coalesce(shadow_nans, 0) > 0
            AS is_compared
    FROM records WHERE copy_of IS NOT NULL AND route = $route AND ts >= $since
),
originals AS (
    SELECT instance AS in_instance, boot AS in_boot, seq AS original_seq, code AS original_code,
        took_us AS original_took_us, model AS original_model, version AS original_version
    FROM records WHERE copy_of IS NULL
),
pairs AS (
    SELECT mine.*, originals.*, original_seq IS NOT NULL AS is_paired,
        CASE
            WHEN is_compared THEN NULL
            WHEN coalesce(why, '') <> '' THEN why
            WHEN code <> 'OK' THEN 'copy ' || code
            WHEN original_code <> 'OK' THEN 'original ' || original_code
            ELSE 'not measured'
        END AS cause,
        -- A pair whose answers have other outputs, or a NaN in one only, is worse than any that is merely far off.
        CASE
            WHEN NOT is_compared THEN NULL
            WHEN why = 'unlike' OR coalesce(shadow_nans, 0) > 0 THEN 'infinity'::DOUBLE
            WHEN shadow_overlap IS NOT NULL OR shadow_tau IS NOT NULL THEN
                (1 - coalesce(shadow_overlap, 1)) + (1 - coalesce(shadow_tau, 1)) / 2
                + CASE WHEN shadow_top1 = false THEN 1 ELSE 0 END
            ELSE coalesce(
                nullif(shadow_delta_most, 0), nullif(abs(shadow_delta), 0), nullif(shadow_relative, 0),
                shadow_absolute, 0)
        END AS badness
    FROM mine LEFT JOIN originals ON in_instance = instance AND in_boot = boot AND original_seq = copy_of
)
"""
_FIGURES = (
    _PAIRS
    + """
SELECT model, version,
    count(*) AS copies,
    count(*) FILTER (is_paired) AS pairs,
    count(*) FILTER (is_compared) AS compared,
    count(*) FILTER (is_compared AND why = 'unlike') AS unlike,
    avg((code <> 'OK')::INTEGER) FILTER (is_paired) AS error_rate,
    avg((original_code <> 'OK')::INTEGER) FILTER (is_paired) AS original_error_rate,
    quantile_disc(took_us, 0.5) FILTER (is_paired) AS took_us_p50,
    quantile_disc(took_us, 0.95) FILTER (is_paired) AS took_us_p95,
    quantile_disc(original_took_us, 0.5) AS original_took_us_p50,
    quantile_disc(original_took_us, 0.95) AS original_took_us_p95,
    avg(shadow_overlap) AS overlap_mean,
    avg(shadow_tau) AS tau_mean,
    avg(shadow_top1::INTEGER) AS top1_agreement,
    avg(shadow_delta) FILTER (isfinite(shadow_delta)) AS delta_mean,
    quantile_disc(shadow_delta, 0.5) FILTER (isfinite(shadow_delta)) AS delta_p50,
    quantile_disc(shadow_delta, 0.95) FILTER (isfinite(shadow_delta)) AS delta_p95,
    max(shadow_delta_most) FILTER (NOT isnan(shadow_delta_most)) AS delta_most,
    -- A difference that is no number is not within any threshold.
    avg((NOT coalesce(shadow_delta_most, abs(shadow_delta)) <= $threshold
        OR isnan(coalesce(shadow_delta_most, shadow_delta)))::INTEGER) AS share_over_threshold,
    max(shadow_absolute) FILTER (NOT isnan(shadow_absolute)) AS absolute_most,
    max(shadow_relative) FILTER (NOT isnan(shadow_relative)) AS relative_most,
    sum(shadow_nans)::BIGINT AS nans
FROM pairs GROUP BY model, version ORDER BY model, version
"""
)
_CAUSES = _PAIRS + "SELECT model, version, cause, count(*) FROM pairs WHERE cause IS NOT NULL GROUP BY ALL ORDER BY ALL"
_WORST = (
    _PAIRS
    + f"""
SELECT model, version, request_id, instance, boot, seq, copy_of, original_model, original_version, badness,
    shadow_overlap, shadow_tau, shadow_top1, shadow_delta, shadow_delta_most, shadow_absolute, shadow_relative,
    shadow_nans, why, CASE WHEN starts_with(shadow_note, '{{') THEN shadow_note END AS answers
FROM pairs WHERE badness > 0
QUALIFY row_number() OVER (PARTITION BY model, version ORDER BY badness DESC, instance, boot, seq) <= {WORST}
ORDER BY model, version, badness DESC, instance, boot, seq
"""
)


class Worst(NamedTuple):
    """One of the pairs that differ most."""

    request_id: str | None
    instance: str
    boot: str
    seq: int
    """The copy's."""
    copy_of: int
    original_model: str | None
    original_version: int | None
    measures: Mapping[str, Any]
    """What was measured of it, by column without `shadow_`."""
    answers: Mapping[str, Any] | None
    """Both answers in short, where the gateway kept them."""


class Mirror(NamedTuple):
    """A mirror's version beside what callers got."""

    model: str
    version: int
    copies: int
    pairs: int
    """Copies whose original is in the journal too."""
    compared: int
    unlike: int
    """Compared as far as possible, though the answers have other outputs, shapes or dtypes."""
    not_compared: Mapping[str, int]
    """By cause."""
    figures: Mapping[str, float | int | None]
    """By name, None where it does not apply."""
    worst: tuple[Worst, ...]


class Report(NamedTuple):
    """All mirrors of one route."""

    route: str
    since: datetime.datetime | None
    threshold: float
    mirrors: tuple[Mirror, ...]
    unreadable: Mapping[Path, str]


def shadow_report(
    journal: Path, route: str, *, since: datetime.datetime | None = None, threshold: float = DEFAULT_THRESHOLD
) -> Report:
    """Return how the mirrors of *route* did.

    Args:
        journal: its directory.
        route: as records name it.
        since: only copies that were sent at this time or later.
        threshold: which |copy - original| / |original| of a price is too much.
    """
    parameters: dict[str, object] = {
        "route": route,
        "since": since or datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),
    }
    figures = reading.query(journal, _FIGURES, {**parameters, "threshold": threshold})
    causes = reading.query(journal, _CAUSES, parameters)
    worst = reading.query(journal, _WORST, parameters)
    mirrors = tuple(
        _mirror(dict(zip(figures.columns, found, strict=True)), causes.rows, _named(worst)) for found in figures.rows
    )
    return Report(route, since, threshold, mirrors, {**figures.unreadable, **causes.unreadable, **worst.unreadable})


def _named(answer: reading.Answer) -> list[dict[str, Any]]:
    return [dict(zip(answer.columns, found, strict=True)) for found in answer.rows]


def _mirror(found: dict[str, Any], causes: Sequence[tuple[Any, ...]], worst: Sequence[Mapping[str, Any]]) -> Mirror:
    model, version = found.pop("model"), found.pop("version")
    counts = {name: found.pop(name) for name in ("copies", "pairs", "compared", "unlike")}
    found["error_rate_difference"] = _difference(found, "error_rate")
    for name in ("took_us_p50", "took_us_p95"):
        found[f"{name}_difference"] = _difference(found, name)
    return Mirror(
        model=model,
        version=version,
        not_compared={cause: count for *key, cause, count in causes if tuple(key) == (model, version)},
        figures=found,
        worst=tuple(_pair(each) for each in worst if (each["model"], each["version"]) == (model, version)),
        **counts,
    )


def _difference(found: Mapping[str, Any], name: str) -> Any:
    copy, original = found[name], found[f"original_{name}"]
    return None if copy is None or original is None else copy - original


def _pair(found: Mapping[str, Any]) -> Worst:
    measures = {
        name.removeprefix("shadow_"): value
        for name, value in found.items()
        if name.startswith("shadow_") and value is not None
    }
    if found["why"]:
        measures["note"] = found["why"]
    return Worst(
        request_id=found["request_id"],
        instance=found["instance"],
        boot=found["boot"],
        seq=found["seq"],
        copy_of=found["copy_of"],
        original_model=found["original_model"],
        original_version=found["original_version"],
        measures=measures,
        answers=_answers(found["answers"]),
    )


def _answers(note: str | None) -> Mapping[str, Any] | None:
    try:
        found = json.loads(note) if note else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
