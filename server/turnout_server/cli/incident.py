"""`turnout incident`: what somebody far away needs to know of a gateway in trouble, in one file."""

from __future__ import annotations

import datetime
import io
import os
import platform
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer

from turnout_server.cli import doctor, exits, health, options, output, results, scrub, table
from turnout_server.cli.exits import CommandError
from turnout_server.cli.readings import UnreadableError, address, fetch
from turnout_server.cli.top import DEFAULT_METRICS
from turnout_server.release import release
from turnout_server.routing.changes import Listed, listed
from turnout_server.routing.table import EMPTY
from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import ConfigurationError, TurnoutError

if TYPE_CHECKING:
    import turnout

_LINES = 1000
_LONGEST = 64 * 1024
"""No line of a log is longer, in characters."""
_OURS = ("TURNOUT_", "OTEL_", "ORT_", "GRPC_", "OMP_")
_TIMEOUT_S = 5.0


class Part(NamedTuple):
    """One file of the bundle."""

    name: str
    what: str
    content: str
    """Empty where there is nothing to be had."""
    problem: str = ""
    """Why not."""


def incident(
    file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The bundle; turnout-incident-TIME.tar.gz here by default."
        ),
    ] = None,
    target: options.Gateway = options.DEFAULT_TARGET,
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics", "-m", envvar="TURNOUT_METRICS", metavar="HOST:PORT", help="Where the gateway's metrics are."
        ),
    ] = DEFAULT_METRICS,
    store: options.Store = options.DEFAULT_STORE,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The gateway's settings.")] = None,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="The gateway's log; its last lines go in.")] = None,
    lines: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="How many of them.")] = _LINES,
    json: options.Json = False,
) -> None:
    """Put what is known of a gateway into one file, to attach to a ticket; what cannot be had is left out, and named.

    Nothing that callers sent is in it: no features, no units; and no secrets. Look through it all the same.
    """
    now = datetime.datetime.now(datetime.UTC)
    place = file or Path(f"turnout-incident-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    try:
        host, port = address(metrics)
    except ConfigurationError as error:
        raise typer.BadParameter(error.message) from error
    parts = [
        _part("versions.json", "releases of Turnout, Python and packages", lambda: _json(_releases())),
        _part("doctor.json", "what `turnout doctor` finds", lambda: _json(doctor.examine(store, target, config))),
        _part("health.json", "its health and its routes', and why", lambda: _json(_health(target))),
        _part("models.json", "versions, states, labels of the gateway", lambda: _json(_asked(target, _models))),
        _part("routes.json", "the route table that it serves", lambda: _json(_asked(target, _served_routes))),
        _part("store.json", "versions, labels and routes in the store", lambda: _json(_stored(store))),
        _part("metrics.txt", "its metrics", lambda: fetch(host, port, _TIMEOUT_S)),
    ]
    if log is not None:
        parts.append(_part("log.txt", f"the last {lines} lines of its log at most", lambda: _tail(log, lines)))
    parts.insert(0, Part("README.txt", "what this is", _read_me(now, parts)))
    _write(place, parts, now)
    if json:
        output.json({"file": str(place), "parts": [_entry(part) for part in parts]})
        return
    output.table(
        ("file", "size", "what", "problem"),
        [
            (part.name, output.size(len(part.content.encode())) if part.content else "-", part.what, part.problem)
            for part in parts
        ],
        right=("size",),
    )
    output.say()
    results.sentence(f"{place}: look through it before you send it")


def _entry(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "what": part.what,
        "size": len(part.content.encode()),
        "problem": part.problem or None,
    }


def _part(name: str, what: str, get: Callable[[], str]) -> Part:
    """Get a part; whatever is in the way of one must not keep the others out."""
    try:
        return Part(name, what, get())
    except (CommandError, TurnoutError) as error:
        problem = error.message
    except UnreadableError as error:
        problem = str(error)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    return Part(name, what, "", scrub.text(output.one_line(problem)))


def _json(value: Any) -> str:
    """Return JSON, its texts scrubbed."""
    return msgspec.json.format(msgspec.json.encode(_scrubbed(msgspec.to_builtins(value))), indent=2).decode() + "\n"


def _scrubbed(value: Any) -> Any:
    match value:
        case str():
            return scrub.text(value)
        case list() | tuple():
            return [_scrubbed(each) for each in value]
        case dict():
            return {key: _scrubbed(each) for key, each in value.items()}
        case _:
            return value


def _releases() -> dict[str, Any]:
    packages = {}
    for package in (*doctor.PACKAGES, "turnout-engine"):
        try:
            packages[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            packages[package] = ""
    return {
        "turnout": release(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": packages,
        # What they are set to is nobody's business: OTEL_EXPORTER_OTLP_HEADERS holds secrets.
        "environment": sorted(name for name in os.environ if name.startswith(_OURS)),
    }


def _asked(target: str, ask: Callable[[turnout.Client], Any]) -> Any:
    with options.connected(target, timeout=_TIMEOUT_S, retries=0) as client:
        return ask(client)


def _health(target: str) -> dict[str, Any]:
    """Return what the gateway says of itself, and of each of its routes."""
    found: dict[str, Any] = {"server": _standing(target, ""), "routes": {}, "problem": None}
    try:
        for route in _asked(target, lambda client: client.routes()).routes:
            found["routes"][route.name] = _standing(target, f"route/{route.name}")
    except (CommandError, TurnoutError) as error:
        # What it has said is worth keeping; one that says no more is not asked once for each further route.
        found["problem"] = error.message
    return found


def _standing(target: str, service: str) -> dict[str, str]:
    status, why = health.asked(target, service, _TIMEOUT_S)
    return {"status": status, "why": why}


def _models(client: turnout.Client) -> list[dict[str, Any]]:
    # Without signatures: their defaults are feature values, if nobody's.
    return [
        {
            "model": model.name,
            "labels": dict(model.labels),
            "versions": [
                {"version": one.version, "task": one.task, "state": one.state, "detail": one.state_detail}
                for one in model.versions
            ],
        }
        for model in client.models()
    ]


def _served_routes(client: turnout.Client) -> dict[str, Any]:
    served = client.routes()
    return {
        "digest": served.digest,
        "problem": served.problem,
        "routes": list(_routes(table.from_gateway(served))),
    }


def _routes(found: list[Listed]) -> Iterator[dict[str, Any]]:
    """Yield routes; of overrides the units and what headers have to be, of rollouts the reasons, are left out."""
    for route in found:
        shown = msgspec.to_builtins(route)
        shown["overrides"] = [
            {"target": rule.target, "headers": sorted(rule.header), "units": len(rule.unit)} for rule in route.overrides
        ]
        if route.rollout is not None:
            shown["rollout"].pop("why", None)  # people's own words, in which anything may stand
        yield shown


def _stored(place: Path) -> dict[str, Any]:
    store = DirectoryStore(place)
    snapshot = store.snapshot()
    found: dict[str, Any] = {
        "models": {
            name: {"versions": list(one.versions), "labels": dict(one.labels), "suspended": one.suspended}
            for name, one in sorted(snapshot.models.items())
        },
        "problems": {name: list(problems) for name, problems in sorted(snapshot.problems.items())},
        "routes_digest": snapshot.routes_digest,
        "routes_problem": snapshot.routes_problem,
        "routes": [],
    }
    try:
        parsed = parse(snapshot.routes_text) if snapshot.routes_text is not None else EMPTY
        laid = table.laid(store, parsed)
        found["routes"] = list(_routes(listed(laid.table, table.names_in(store, laid.table), laid.left_out)))
    except TurnoutError as error:
        found["routes_problem"] = error.message
    return found


def _tail(file: Path, most: int) -> str:
    try:
        with file.open(encoding="utf-8", errors="backslashreplace") as stream:
            kept = deque((line.rstrip("\n")[:_LONGEST] for line in stream), maxlen=most)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror or error}", exits.NOT_FOUND) from error
    return "\n".join(scrub.log(kept)) + "\n"


def _read_me(now: datetime.datetime, parts: list[Part]) -> str:
    width = max(len(part.name) for part in parts)
    listed = [f"{part.name:{width}}  {(part.problem and 'missing: ' + part.problem) or part.what}" for part in parts]
    return "\n".join(
        (
            f"What `turnout incident` of Turnout {release()} found at {now:%Y-%m-%d %H:%M:%S} UTC.",
            "",
            *listed,
            "",
            "It has names of models, routes, targets, labels and hosts. It has no features,",
            "no units, no values of environment variables, and of overrides neither units nor",
            "what headers have to be. Of log lines in JSON it has the fields that the gateway",
            "itself writes; of other lines the text, without what is called a unit, a",
            "password, a token or the like. So look through it before you send it.",
            "",
        )
    )


def _write(place: Path, parts: list[Part], now: datetime.datetime) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as bundle:
        for part in parts:
            if not part.content:
                continue
            data = part.content.encode(errors="backslashreplace")
            entry = tarfile.TarInfo(f"{place.name.removesuffix('.tar.gz')}/{part.name}")
            entry.size, entry.mtime, entry.mode = len(data), int(now.timestamp()), 0o644
            bundle.addfile(entry, io.BytesIO(data))
    try:
        # Not over another one, and not for others to read.
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.getvalue())
    except OSError as error:
        raise CommandError(f"{place}: {error.strerror or error}", exits.UNAVAILABLE) from error
