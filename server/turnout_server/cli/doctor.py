"""`turnout doctor`: what is in order on this machine and in this store, what is not, and what to do about it."""

from __future__ import annotations

import enum
import os
import platform
import socket
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from turnout_server.cli import exits, options, output
from turnout_server.cli.exits import CommandError
from turnout_server.cli.health import asked
from turnout_server.cli.models import findings
from turnout_server.config import Config, load, parse_address
from turnout_server.engine.choice import HOW_TO_GET_IT, NOT_INSTALLED, Engine, chosen, find
from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore, StoreSnapshot
from turnout_server.vocabulary.errors import ConfigurationError, TurnoutError

PACKAGES = ("grpcio", "protobuf", "numpy", "onnx", "onnxruntime", "msgspec", "opentelemetry-sdk", "uvloop", "xxhash")


class Result(enum.StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    result: Result
    found: str
    advice: str = ""


def doctor(
    store: options.Store = options.DEFAULT_STORE,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Check that gRPC could listen here.")] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Check that metrics could be served here.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", metavar="HOST:PORT", help="Ask this gateway for its health.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Check these settings.")] = None,
    json: options.Json = False,
) -> None:
    """Check packages, settings, the data plane, the store, ports and a gateway; exit with 1 if anything fails."""
    checks = examine(store, target, file)
    checks += [_port("listen", listen)] if listen is not None else []
    checks += [_port("metrics", metrics)] if metrics is not None else []
    if json:
        output.json(checks)
    else:
        output.table(
            ("check", "result", "found", "advice"), [(one.what, one.result, one.found, one.advice) for one in checks]
        )
    failed = sum(one.result is Result.FAIL for one in checks)
    if failed:
        raise CommandError(f"{failed} of {len(checks)} checks failed", exits.FAILED)


def examine(store: Path, target: str | None, file: Path | None) -> list[Check]:
    """Check all but ports: packages, settings in *file*, the data plane, a store, and the gateway at *target*."""
    checks = [*_python(), *_configuration(file, find()), *_store(store), *_models(file, store)]
    return checks + ([_gateway(target)] if target is not None else [])


def _python() -> Iterator[Check]:
    yield Check("python", Result.OK, platform.python_version())
    for package in PACKAGES:
        try:
            yield Check(package, Result.OK, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Check(package, Result.FAIL, "not installed", "pip install 'THE_WHEEL[server]', see docs/install.md")
    try:
        import turnout.v1  # noqa: F401

        # By our own package, which switches off ONNX Runtime's telemetry before it is imported.
        import turnout_server.onnx.binding  # noqa: F401
    except Exception as error:
        yield Check("imports", Result.FAIL, output.one_line(error), "install the locked requirements afresh")
    else:
        yield Check("imports", Result.OK, "the stubs and ONNX Runtime can be imported")


def _configuration(file: Path | None, engine: Engine) -> Iterator[Check]:
    config = Config()
    if file is not None:
        try:
            config = load(file)
        except ConfigurationError as error:
            yield Check("config", Result.FAIL, error.message, "docs/cli.md lists all settings")
            return
        if config.outdated:
            yield Check("config", Result.WARN, config.outdated, "the next release does not take it")
        else:
            yield Check("config", Result.OK, str(file))
    yield _data_plane(config, engine)


def _data_plane(config: Config, engine: Engine) -> Check:
    try:
        choice = chosen(config, engine)
    except ConfigurationError as error:
        return Check("data plane", Result.FAIL, error.message, HOW_TO_GET_IT)
    if choice.name == "engine" or config.data_plane == "python":
        return Check("data plane", Result.OK, f"{choice.name}: {choice.why}")
    # Serving without it is in order; an engine that is there and can't be used is somebody's mistake.
    absent = engine == Engine(problem=NOT_INSTALLED)
    return Check("data plane", Result.OK if absent else Result.WARN, f"python: {choice.why}", HOW_TO_GET_IT)


def _store(path: Path) -> Iterator[Check]:
    directory = DirectoryStore(path)
    try:
        snapshot = directory.snapshot()
    except TurnoutError as error:
        yield Check("store", Result.FAIL, error.message, "name it with --store, or make one with `turnout publish`")
        return
    versions = sum(len(model.versions) for model in snapshot.models.values())
    if versions:
        yield Check("store", Result.OK, f"{path}: {len(snapshot.models)} models, {versions} versions")
    else:
        yield Check("store", Result.WARN, f"{path}: no models", "publish one with `turnout publish`")
    if os.access(path, os.W_OK):
        yield Check("writable", Result.OK, "yes")
    else:
        yield Check("writable", Result.WARN, "no", "serving does not need it; publishing and labels do")
    for name, problems in sorted(snapshot.problems.items()):
        for problem in problems:
            yield Check(f"model {name}", Result.WARN, problem, "see docs/cli.md, or publish again")
    for one in findings(directory):
        if one["problem"]:
            what = f"{one['model']} version {one['version']}"
            yield Check(
                what, Result.FAIL, one["problem"], "restore its files, or remove its directory and publish again"
            )
    yield _routes(directory, snapshot)
    yield from _rollouts(directory, snapshot)


def _models(file: Path | None, store: Path) -> Iterator[Check]:
    """Say which models of the configuration the store does not have, where both can be read."""
    try:
        configured = load(file).models if file is not None else {}
        unknown = sorted(configured.keys() - DirectoryStore(store).snapshot().models.keys()) if configured else []
    except TurnoutError:
        return
    for name in unknown:
        yield Check(f"models.{name}", Result.WARN, "the store has no such model", "correct the name, or publish it")


def _routes(directory: DirectoryStore, snapshot: StoreSnapshot) -> Check:
    if snapshot.routes_problem:
        return Check("routes", Result.FAIL, snapshot.routes_problem, "make routes.yaml readable")
    if snapshot.routes_text is None and snapshot.had_routes:
        advice = "bring routes.yaml back, or write one that says `routes: {}`; a gateway that starts is NOT_SERVING"
        return Check("routes", Result.FAIL, "the route table is gone", advice)
    if snapshot.routes_text is None:
        return Check("routes", Result.WARN, "no routes.yaml", "models answer by their own names; see docs/routing.md")
    from turnout_server.gateway.tables import check_references

    try:
        table = parse(snapshot.routes_text)
        check_references(table, directory, snapshot)
    except TurnoutError as error:
        return Check("routes", Result.FAIL, error.message, "correct routes.yaml; `turnout routes check` helps")
    return Check("routes", Result.OK, f"{len(table)} routes")


def _rollouts(directory: DirectoryStore, snapshot: StoreSnapshot) -> Iterator[Check]:
    """Say what has been decided about routes and is not in force."""
    from turnout_server.cli.table import laid

    if snapshot.rollouts is None:
        advice = "see to it that those who run gateways may read rollouts/"
        yield Check(
            "rollouts", Result.FAIL, "the store's rollouts cannot be listed: pauses may not be in force", advice
        )
        return
    try:
        found = laid(directory, parse(snapshot.routes_text or ""))
    except TurnoutError:
        return
    for route, problem in found.left_out.items():
        advice = f"see `turnout routes show`; remove rollouts/{route}.json if it is not wanted any more"
        yield Check(f"rollouts/{route}", Result.WARN, f"not in force: {problem}", advice)


def _port(what: str, address: str) -> Check:
    host, port = parse_address(address, what)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        return Check(
            what, Result.FAIL, f"{address}: {error.strerror or error}", "stop what listens there, or choose another"
        )
    return Check(what, Result.OK, f"{address} is free")


def _gateway(target: str) -> Check:
    try:
        status, why = asked(target, "", 3.0)
        with options.connected(target, timeout=3.0, retries=0) as client:
            problem = client.routes().problem
    except CommandError as failure:
        return Check("gateway", Result.FAIL, failure.message, "start it with `turnout serve`")
    if status != "SERVING":
        found = f"{target} is {status}: {why}" if why else f"{target} is {status}"
        return Check("gateway", Result.FAIL, found, "mend what it names; the gateway follows by itself")
    if problem:
        return Check("gateway", Result.WARN, f"{target} serves an older route table: {problem}", "correct routes.yaml")
    return Check("gateway", Result.OK, f"{target} is SERVING")
