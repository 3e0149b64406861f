"""`turnout shadow`: how mirrors would have done."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turnout_server.cli import exits, output, results
from turnout_server.cli.exits import CommandError
from turnout_server.cli.journal import Directory, Json, note_unreadable, opened

if TYPE_CHECKING:
    from turnout_server.journal.shadow_report import Mirror, Worst

shadow = typer.Typer(help="Look at what mirrors would have answered.", no_args_is_help=True)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MEASURES = ("overlap", "tau", "top1", "delta", "delta_most", "absolute", "relative", "nans", "note")


@shadow.command()
def report(
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="The route that has mirrors.")],
    directory: Directory,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only copies of the last 30m, 1h, 7d; else all.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, metavar="SHARE", help="A price that is off by more counts as far off.")
    ] = 0.1,
    json: Json = False,
) -> None:
    """Compare each mirror's answers with those that callers got."""
    from turnout_server.journal import reading
    from turnout_server.journal.shadow_report import shadow_report

    if not math.isfinite(threshold):
        raise typer.BadParameter(f"--threshold: {threshold} is no share")
    begin = datetime.datetime.now(datetime.UTC) - duration(since) if since is not None else None
    found = shadow_report(opened(directory), route, since=begin, threshold=threshold)
    if not found.mirrors:
        known = reading.query(directory, "SELECT 1 FROM records WHERE route = $route LIMIT 1", {"route": route})
        if not known.rows:
            raise CommandError(f"no records of a route {route!r} in {directory}", exits.NOT_FOUND)
    if json:
        mirrors = [{**each._asdict(), "worst": [one._asdict() for one in each.worst]} for each in found.mirrors]
        left_out = {file.name: problem for file, problem in found.unreadable.items()}
        output.json({**found._asdict(), "mirrors": mirrors, "unreadable": left_out})
    elif not found.mirrors:
        output.note(f"no copies of requests to {route}" + (f" in the last {since}" if since else ""))
    for each in found.mirrors if not json else ():
        _show(each, threshold)
    note_unreadable(found.unreadable)


def duration(text: str) -> datetime.timedelta:
    """Return `90s`, `30m`, `1h` or `7d` as a time.

    Raises:
        typer.BadParameter: it is none of these.
    """
    matched = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if matched is None:
        raise typer.BadParameter(f"--since: found {text!r}; expected a number and s, m, h or d, such as 1h")
    span = datetime.timedelta(**{_UNITS[matched[2]]: int(matched[1])})
    if span > datetime.timedelta(days=36_500):
        raise typer.BadParameter(f"--since: {text} is more than a hundred years")
    return span


def _show(mirror: Mirror, threshold: float) -> None:
    results.say(
        f"{mirror.model} {mirror.version}: {mirror.copies} copies, {mirror.pairs} with their original,"
        f" {mirror.compared} compared"
    )
    if mirror.not_compared:
        results.say("not compared: " + ", ".join(f"{cause} {count}" for cause, count in mirror.not_compared.items()))
    if mirror.unlike:
        results.say(f"compared in part, because outputs, shapes or dtypes differ: {mirror.unlike}")
    figures = mirror.figures
    output.say()
    sides = [
        (
            label,
            form(figures[name]),
            form(figures[f"original_{name}"]),
            form(figures[f"{name}_difference"], signed=True),
        )
        for label, name, form in (
            ("errors", "error_rate", _percent),
            ("took, p50", "took_us_p50", _ms),
            ("took, p95", "took_us_p95", _ms),
        )
    ]
    results.show(("", "copy", "original", "difference"), sides, right=("copy", "original", "difference"))
    measured = list(_measured(figures, threshold))
    if measured:
        output.say()
        results.show(("measure", "value"), measured, right=("value",))
    if mirror.worst:
        output.say()
        results.say(f"the {len(mirror.worst)} pairs that differ most:")
        _show_worst(mirror.worst)
    output.say()


def _measured(figures: Any, threshold: float) -> Iterator[tuple[str, str]]:
    """Yield what applies, as people say it."""
    for label, name, form in (
        ("overlap, mean", "overlap_mean", output.number),
        ("Kendall's tau, mean", "tau_mean", output.number),
        ("same first item", "top1_agreement", output.percent),
        ("price, mean difference", "delta_mean", _percent_signed),
        ("price, p50", "delta_p50", _percent_signed),
        ("price, p95", "delta_p95", _percent_signed),
        ("price, greatest", "delta_most", output.percent),
        (f"price, off by more than {output.percent(threshold)}", "share_over_threshold", output.percent),
        ("greatest absolute difference", "absolute_most", output.number),
        ("greatest relative difference", "relative_most", output.number),
        ("NaN in one answer only", "nans", str),
    ):
        value = figures[name]
        if value is not None:
            yield label, form(value)


def _show_worst(worst: tuple[Worst, ...]) -> None:
    rows = [(one.request_id, *(one.measures.get(name) for name in _MEASURES)) for one in worst]
    numbers = _MEASURES[:-1]
    results.show(("request_id", *_MEASURES), rows, right=numbers, empty=False)


def _percent(share: float | None, *, signed: bool = False) -> str:
    if share is None:
        return ""
    return _percent_signed(share) if signed else output.percent(share)


def _percent_signed(share: float) -> str:
    return f"{share * 100:+.4g} %"


def _ms(micros: float | None, *, signed: bool = False) -> str:
    if micros is None:
        return ""
    return f"{micros / 1000:{'+' if signed else ''}.2f} ms"
