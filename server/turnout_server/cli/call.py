"""`turnout call`: one typed request, for debugging."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
import yaml

from turnout_server.cli import exits, options, output
from turnout_server.cli.complete import routes
from turnout_server.cli.exits import CommandError
from turnout_server.config import NOT_YAML

if TYPE_CHECKING:
    import turnout

_PRICE, _RANKING, _RECOMMENDATION = "Price", "Ranking", "Recommendation"

_KEYS: Mapping[str, tuple[str, ...]] = {
    "price": ("features", "rows"),
    "ranking": ("candidates", "context", "k"),
    "recommendation": ("history", "exclude", "k"),
}
"""What a request of each task consists of: the keys that --data may have."""

_HEADER = re.compile(r"[0-9a-z_.-]+").fullmatch

_WHY = {
    "SPLIT": "the unit's place in the split",
    "OVERRIDE": "an override of the route matched",
    "PINNED": "the request named the version or label",
    "NAMED": "the request named the model: its champion, or without that label its newest",
    "UNSTICKY": "no unit, so drawn at random",
    "FALLBACK": "the assigned version is not available",
}


class _Common(NamedTuple):
    """What every call takes."""

    unit: str
    version: int | str | None
    metadata: dict[str, str]


def call(
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="The route, or the model.", autocompletion=routes)],
    target: options.Gateway = options.DEFAULT_TARGET,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", "-f", metavar="NAME=VALUE", help="A feature.", rich_help_panel=_PRICE),
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option("--candidate", "-c", metavar="ID:NAME=VALUE,...", help="A candidate.", rich_help_panel=_RANKING),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A feature of all candidates.", rich_help_panel=_RANKING),
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(metavar="ID,...", help="Items of the user, oldest first.", rich_help_panel=_RECOMMENDATION),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="ID,...", help="Items not to recommend.", rich_help_panel=_RECOMMENDATION),
    ] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="How many items or candidates to return.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The request as a JSON object; - is stdin. Options win over it.")
    ] = None,
    unit: Annotated[str, typer.Option("--unit", "-u", help="What the assignment sticks to; a user's id, say.")] = "",
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="A version or label, to pin the request to.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", "-H", metavar="NAME=VALUE", help="Request metadata.")
    ] = None,
    timeout: options.Timeout = 10.0,
    json: options.Json = False,
) -> None:
    """Send one request to a route or model and show the answer, and who gave it.

    A value is a number or true or false where it looks like one, and text otherwise; quotes make it text: cut='"1"'.
    The task is the route's, so a price route takes --feature, a ranking --candidate, a recommendation --history.
    """
    given: dict[str, Any] = {
        "features": _features(feature, "--feature"),
        "candidates": _candidates(candidate),
        "context": _features(context, "--context"),
        "history": _ids(history),
        "exclude": _ids(exclude),
        "k": k,
    }
    request = _read_data(data) | {name: value for name, value in given.items() if value is not None}
    common = _Common(unit, None if version is None else options.selector(version), _metadata(metadata or []))
    with options.connected(target, timeout=timeout) as client:
        task = _task(client, route, version)
        for name in request:
            if name not in _KEYS[task]:
                raise typer.BadParameter(f"{name}: {route!r} does {task}, which takes {', '.join(_KEYS[task])}")
        started = time.perf_counter()
        answer = _SENDERS[task](client, route, request, common)
        elapsed_ms = (time.perf_counter() - started) * 1000.0
    if json:
        output.json({**dataclasses.asdict(answer), "elapsed_ms": round(elapsed_ms, 3)})
        return
    _show(answer)
    why = _WHY.get(answer.served.reason, answer.served.reason)
    output.say(output.plain(f"{answer.served}: {why}; {elapsed_ms:.1f} ms"))


def _task(client: turnout.Client, name: str, version: str | None) -> str:
    """Ask the gateway what *name*, a route or else a model, does."""
    import turnout

    try:
        task = client.route(name).task
    except turnout.NotFoundError as error:
        try:
            model = client.model(name)
        except turnout.NotFoundError:
            raise error from None
        wanted = model.labels.get(version or "", version or "")
        task = next((one.task for one in model.versions if str(one.version) == str(wanted)), model.versions[0].task)
    if task not in _KEYS:
        raise CommandError(
            f"{name!r} does {task}, which has no typed call; use a client of the Open Inference Protocol", exits.INVALID
        )
    return task


def _price(client: turnout.Client, route: str, request: dict[str, Any], common: _Common) -> turnout.Prices:
    rows = request.get("rows") or [{}]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise typer.BadParameter("rows: expected a list of objects")
    merged = [{**row, **request.get("features", {})} for row in rows]
    return client.predict_prices(route, merged, **common._asdict())


def _ranking(client: turnout.Client, route: str, request: dict[str, Any], common: _Common) -> turnout.Ranking:
    candidates = request.get("candidates")
    if not isinstance(candidates, dict):
        raise typer.BadParameter("candidates: a ranking needs --candidate ID:NAME=VALUE,... at least once")
    return client.rank(route, candidates, context=request.get("context"), k=request.get("k"), **common._asdict())


def _recommendation(
    client: turnout.Client, route: str, request: dict[str, Any], common: _Common
) -> turnout.Recommendations:
    history, exclude = (list(map(str, request.get(name) or [])) for name in ("history", "exclude"))
    return client.recommend(route, history, exclude=exclude, k=request.get("k") or 10, **common._asdict())


_SENDERS: Mapping[str, Callable[[turnout.Client, str, dict[str, Any], _Common], Any]] = {
    "price": _price,
    "ranking": _ranking,
    "recommendation": _recommendation,
}


def _show(answer: turnout.Prices | turnout.Ranking | turnout.Recommendations) -> None:
    import turnout

    match answer:
        case turnout.Prices(prices=prices):
            rows = [(number, *map(output.number, (one.price, one.low, one.high))) for number, one in enumerate(prices)]
            columns = ("row", "price", "low", "high") if len(rows) > 1 else ("price", "low", "high")
            output.table(columns, [row[-len(columns) :] for row in rows], right=columns)
        case turnout.Ranking(candidates=candidates):
            ranked = [(rank, one.id, output.number(one.score)) for rank, one in enumerate(candidates, 1)]
            output.table(("rank", "candidate", "score"), ranked, right=("rank", "score"))
        case turnout.Recommendations(items=items):
            found = [(rank, one.id, output.number(one.score)) for rank, one in enumerate(items, 1)]
            output.table(("rank", "item", "score"), found, right=("rank", "score"))


# ---------------------------------------------------------------- reading the request


def _features(given: list[str] | None, option: str) -> dict[str, Any] | None:
    if given is None:
        return None
    return {name: options.scalar(value) for name, value in options.pairs(given, option).items()}


def _candidates(given: list[str] | None) -> dict[str, dict[str, Any]] | None:
    if given is None:
        return None
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, _, rest = text.partition(":")
        if not name or name in found:
            problem = "stands twice" if name else "has no id"
            raise typer.BadParameter(f"--candidate: {text!r} {problem}; expected ID:NAME=VALUE,...")
        found[name] = _features(rest.split(",") if rest else [], "--candidate") or {}
    return found


def _metadata(given: list[str]) -> dict[str, str]:
    found = {name.lower(): value for name, value in options.pairs(given, "--metadata").items()}
    for name, value in found.items():
        if not _HEADER(name) or name.endswith("-bin"):
            raise typer.BadParameter(f"--metadata: {name!r} is no name of a text header: a-z, 0-9, '_', '-' and '.'")
        if not (value.isascii() and value.isprintable()):
            raise typer.BadParameter(f"--metadata: the value of {name!r} is not printable ASCII")
    return found


def _ids(given: list[str] | None) -> list[str] | None:
    if given is None:
        return None
    return [one.strip() for text in given for one in text.split(",") if one.strip()]


def _read_data(file: Path | None) -> dict[str, Any]:
    """Read --data. YAML reads JSON, and says where a mistake is."""
    if file is None:
        return {}
    try:
        document = yaml.safe_load(options.read_text(file))
    except NOT_YAML as error:
        raise CommandError(f"{file}: not JSON: {error}", exits.INVALID) from error
    if not isinstance(document, dict):
        raise CommandError(f"{file}: expected a JSON object", exits.INVALID)
    known = {key for keys in _KEYS.values() for key in keys}
    for key in document:
        if key not in known:
            raise CommandError(f"{file}: unknown key {key!r}; allowed are {', '.join(sorted(known))}", exits.INVALID)
    return document
