"""`turnout call`: one request, for debugging."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turnout_server.cli import any_call, data_file, exits, options, output, results, typed_call
from turnout_server.cli.complete import routes
from turnout_server.cli.data_file import Contents, Table
from turnout_server.cli.exits import CommandError
from turnout_server.cli.known_inputs import KnownInputs
from turnout_server.cli.typed_call import Common

if TYPE_CHECKING:
    import turnout

_TYPED, _RANKING, _RECOMMENDATION = "Features", "Ranking", "Recommendation"

_OPTIONS = {"candidates": "--candidate", "k": "-k"}
"""The parts of a request whose options are called otherwise."""

_HEADER = re.compile(r"[0-9a-z_.-]+").fullmatch

_WHY = {
    "SPLIT": "the unit's place in the split",
    "OVERRIDE": "an override of the route matched",
    "PINNED": "the request named the version or label",
    "NAMED": "the request named the model: its champion, or without that label its newest",
    "UNSTICKY": "no unit, so drawn at random, or an experiment's control",
    "FALLBACK": "the assigned version is not available",
    "HOLDOUT": "the unit is kept out of the layer's experiments, so it gets the control",
    "UNENROLLED": "the unit does not take part in the route's experiment, so it gets the control",
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Sent:
    """A request that was answered."""

    answer: Any
    given: dict[str, Any]
    """What it said of each feature."""
    elapsed_ms: float


def call(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The route, or the model.", autocompletion=routes)],
    target: options.Gateway = options.DEFAULT_TARGET,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", "-f", metavar="NAME=VALUE", help="A feature, or an input.", rich_help_panel=_TYPED),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON, CSV, Parquet, NPZ; - is stdin, JSON or CSV. Options win over it.",
            rich_help_panel=_TYPED,
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN,...", help="Columns of the file to leave out.", rich_help_panel=_TYPED),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", metavar="NAME,...", help="Outputs to return.", rich_help_panel=_TYPED),
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
    plain: Annotated[
        bool, typer.Option("--plain", help="Pass over the model's task: inputs by name in, all outputs out.")
    ] = False,
    explain_defaults: Annotated[
        bool, typer.Option("--explain-defaults", help="Say which features the model's defaults stood in for.")
    ] = False,
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
    """Send one request to any route or model and show the answer, and who gave it.

    Values are read as the model's signature has them: --feature age=30 --feature city=Berlin. A price route takes
    --feature, a ranking --candidate, a recommendation --history, any other --feature; --data has many rows.
    """
    pairs = options.pairs(feature or [], "--feature")
    parts = {
        "history": _ids(history),
        "exclude": _ids(exclude),
        "k": k,
        "context": context,
        "candidates": _candidates(candidate),
    }
    parts = {part: value for part, value in parts.items() if value is not None}
    common = Common(unit, None if version is None else options.selector(version), _metadata(metadata or []))
    contents = _without(data_file.read(data), drop or []) if data is not None else {}
    with options.connected(target, timeout=timeout) as client:
        task, described = _task(client, name, common.version)
        known = KnownInputs.of(described)
        place = str(data)
        request = None if plain or outputs else _typed(task, contents, known, place)
        if request is None and parts:
            part = next(iter(parts))
            which = _OPTIONS.get(part, f"--{part}")
            raise typer.BadParameter(f"{which}: {name!r} is called by its inputs' names; it takes --feature and --data")
        if request is not None:
            request |= _parts(parts, pairs, known)
        with _suggesting(known):
            if request is not None:
                sent = _send_typed(client, task, name, request, common)
            else:
                sent = _send_any(client, name, any_call.request(known, contents, pairs, place), outputs, common)
        defaults = _defaults(client, sent, explain_defaults)
    _show(sent, defaults, json)


# ---------------------------------------------------------------- sending


def _task(client: turnout.Client, name: str, version: int | str | None) -> tuple[str, turnout.Version]:
    """Ask the gateway what *name*, a route or else a model, does, and what it takes."""
    import turnout

    described = client.describe(name, version=version)
    try:
        return client.route(name).task, described
    except turnout.NotFoundError:
        return described.task, described


def _typed(task: str, contents: Contents, known: KnownInputs, place: str) -> dict[str, Any] | None:
    """Return what a file has for a task's own service; None where the request is not one for it."""
    return typed_call.fitting(task, contents, known, place) if task in typed_call.KEYS else None


def _parts(parts: dict[str, Any], pairs: dict[str, str], known: KnownInputs) -> dict[str, Any]:
    """Return the options' part of a typed request."""
    found = dict(parts)
    if "candidates" in parts:
        found["candidates"] = {name: _values(values, known) for name, values in parts["candidates"].items()}
    if "context" in parts:
        found["context"] = _values(options.pairs(parts["context"], "--context"), known)
    if pairs:
        found["features"] = _values(pairs, known)
    return found


def _send_typed(client: turnout.Client, task: str, name: str, request: dict[str, Any], common: Common) -> _Sent:
    return _timed(lambda: typed_call.send(client, task, name, request, common), lambda: typed_call.given(task, request))


def _send_any(
    client: turnout.Client, name: str, request: any_call.Request, outputs: list[str] | None, common: Common
) -> _Sent:
    wanted = any_call.outputs_of(outputs, request.outputs)
    importlib.import_module("numpy")  # which the answer needs: its import is no part of the call's time
    return _timed(
        lambda: client.infer(name, request.features, tensors=request.whole, outputs=wanted, **common._asdict()),
        lambda: request.given,
    )


@contextlib.contextmanager
def _suggesting(known: KnownInputs) -> Iterator[None]:
    """Say what may have been meant, where the gateway knows no feature of that name."""
    import turnout

    try:
        yield
    except turnout.InvalidRequestError as error:
        meant = known.close_to(error.details.get("feature", "")) if error.reason == "FEATURE_UNKNOWN" else None
        if meant is None:
            raise
        raise CommandError(f"{error}; did you mean {meant!r}? ({error.reason}, {error.code})", exits.INVALID) from error


def _timed(send: Callable[[], Any], given: Callable[[], dict[str, Any]]) -> _Sent:
    started = time.perf_counter()
    answer = send()
    return _Sent(answer, given(), (time.perf_counter() - started) * 1000.0)


def _defaults(client: turnout.Client, sent: _Sent, wanted: bool) -> tuple[dict[str, Any], str] | None:
    """Return the features that the version which answered filled in, and a sentence on them."""
    if not wanted:
        return None
    served = sent.answer.served
    known = KnownInputs.of(client.describe(served.model, version=served.version))
    defaulted = known.defaulted(sent.given)
    return defaulted, known.explained(defaulted)


def _show(sent: _Sent, defaults: tuple[dict[str, Any], str] | None, json: bool) -> None:
    import turnout

    answer = sent.answer
    is_any = isinstance(answer, turnout.Inference)
    if json:
        served = {"served": dataclasses.asdict(answer.served)}
        document = {**any_call.document(answer), **served} if is_any else dataclasses.asdict(answer)
        more = {} if defaults is None else {"defaulted": defaults[0]}
        output.json({**document, **more, "elapsed_ms": round(sent.elapsed_ms, 3)})
        return
    (any_call if is_any else typed_call).show(answer)
    if defaults is not None:
        results.sentence(defaults[1])
    why = _WHY.get(answer.served.reason, answer.served.reason)
    results.sentence(f"{answer.served}: {why}; {sent.elapsed_ms:.1f} ms")


# ---------------------------------------------------------------- reading the options


def _without(contents: Contents, drop: list[str]) -> Contents:
    """Return a file's contents without the columns in *drop*."""
    names = {name.strip() for text in drop for name in text.split(",")}
    if not names:
        return contents
    if not isinstance(contents, Table):
        raise typer.BadParameter("--drop: the file has no columns, as CSV, Parquet and rows of JSON have")
    unknown = names - contents.columns.keys()
    if unknown:
        there = ", ".join(contents.columns)
        raise typer.BadParameter(f"--drop: there is no column {min(unknown)!r}; there are {there}")
    return dataclasses.replace(contents, columns={n: v for n, v in contents.columns.items() if n not in names})


def _values(pairs: dict[str, str], known: KnownInputs) -> dict[str, Any]:
    return {
        name: known.value(name, text) if name in known.features else options.scalar(text)
        for name, text in pairs.items()
    }


def _candidates(given: list[str] | None) -> dict[str, dict[str, str]] | None:
    """Return each candidate's features as they were written, by its id."""
    if given is None:
        return None
    found: dict[str, dict[str, str]] = {}
    for text in given:
        name, _, rest = text.partition(":")
        if not name or name in found:
            problem = "stands twice" if name else "has no id"
            raise typer.BadParameter(f"--candidate: {text!r} {problem}; expected ID:NAME=VALUE,...")
        found[name] = options.pairs(rest.split(","), "--candidate") if rest else {}
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
