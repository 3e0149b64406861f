"""What `turnout serve` prints when it has started: where, what, and three commands to try."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from turnout_server.app import Started
from turnout_server.cli import output
from turnout_server.cli.examples import Example, example
from turnout_server.config import parse_address
from turnout_server.routing.split import shares
from turnout_server.routing.view import View
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import TurnoutError


def as_json(started: Started) -> str:
    """Return everything on one line."""
    document = {
        "address": started.address,
        "metrics": started.metrics,
        "pid": os.getpid(),
        "health": "NOT_SERVING" if started.why_not else "SERVING",
        "why": started.why_not,
        "routes": [route.name for route in started.view.table],
        "table_problem": started.table_problem,
        "failed": [
            {"model": status.key.model, "version": status.key.version, "detail": status.detail}
            for status in started.failed
        ],
    }
    return json.dumps(document)


def as_text(started: Started, store: Path) -> str:
    """Return a few lines for people, with commands that work when they are pasted."""
    lines = [f"turnout serves {output.plain(store)} on {started.address}"]
    if started.why_not:
        lines = [
            f"turnout listens on {started.address}, store {output.plain(store)}",
            f"NOT_SERVING: {output.one_line(started.why_not)}",
        ]
    if started.metrics:
        lines.append(f"metrics on http://{started.metrics}/metrics")
    lines += ["", *(_routes(started.view) or ["no routes; models answer by their own names"])]
    if started.table_problem and started.table_problem not in started.why_not:
        lines.append(f"the store's route table is not served: {output.one_line(started.table_problem)}")
    lines += [f"failed: {status.key}: {output.one_line(status.detail)}" for status in started.failed]
    lines += ["", "try:"]
    lines += [f"  {command}" for command in commands(_reachable(started.address), _example(started.view, store))]
    return "\n".join(lines)


def commands(address: str, shown: Example | None) -> list[str]:
    """Return three commands, for grpcurl, Python and `turnout call`, that ask the gateway at *address*."""
    grpcurl, python, turnout = _grpcurl(), _python(), _turnout()
    if shown is None:
        return [
            f"{grpcurl} -plaintext {address} list",
            f"{python} -c 'import turnout; print(turnout.Client(\"{address}\").models())'",
            f"{turnout} models --target {address}",
        ]
    program = f'import turnout; print(turnout.Client("{address}").{shown.expression})'
    return [
        f"{grpcurl} -plaintext -d {_quoted(json.dumps(shown.request, ensure_ascii=False))} {address} {shown.method}",
        f"{python} -c {_quoted(program)}",
        f"{turnout} call {' '.join(map(_quoted, shown.arguments))} --target {address}",
    ]


def _routes(view: View) -> list[str]:
    width = max((len(route.name) for route in view.table), default=0)
    lines = []
    for compiled in view.table:
        share = shares(compiled.route.targets)
        arms = []
        for target in compiled.route.targets:
            key = view.key_of(target.model, target.version)
            arms.append(f"{target.name} {output.percent(share[target.name])} -> {key or target.model}")
        lines.append(f"  {compiled.name:{width}}  {', '.join(arms)}")
    return lines


def _example(view: View, store: Path) -> Example | None:
    """Return a request for the first price route, else for the first of another task."""
    directory = DirectoryStore(store)
    for task in ("price", "ranking", "recommendation", "tensors"):
        for compiled in view.table:
            if compiled.route.task != task:
                continue
            keys = [view.key_of(target.model, target.version) for target in compiled.route.targets if target.weight > 0]
            try:
                manifests = [directory.manifest(key.model, key.version) for key in keys if key is not None]
                if manifests and (shown := example(compiled.name, manifests)) is not None:
                    return shown
            except TurnoutError:
                continue
    return None


def _reachable(address: str) -> str:
    """Return *address* as this machine can call it: a wildcard host is itself."""
    host, port = parse_address(address, "listen")
    return {"0.0.0.0": f"127.0.0.1:{port}", "::": f"[::1]:{port}"}.get(host, address)


def _grpcurl() -> str:
    """Return how to call grpcurl, which may be in Python's environment and nowhere else."""
    beside = Path(sys.executable).with_name("grpcurl")
    return _quoted(_shortest(beside)) if beside.exists() and shutil.which("grpcurl") is None else "grpcurl"


def _python() -> str:
    return _quoted(_shortest(Path(sys.executable)))


def _turnout() -> str:
    beside = Path(sys.executable).with_name("turnout")
    return _quoted(_shortest(beside)) if beside.exists() else f"{_python()} -m turnout_server"


def _shortest(program: Path) -> str:
    """Return how a shell in the present directory calls *program*: its name, or a path."""
    found = shutil.which(program.name)
    if found is not None and Path(found).absolute() == program.absolute():
        return program.name
    here = Path.cwd()
    return str(program.relative_to(here)) if program.is_relative_to(here) else str(program)


def _quoted(text: object) -> str:
    return shlex.quote(str(text))
