"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import pwd
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turnout_server.cli import exits
from turnout_server.cli.complete import models, routes
from turnout_server.cli.exits import CommandError
from turnout_server.store.store import By, DirectoryStore

if TYPE_CHECKING:
    import turnout

DEFAULT_STORE = Path("model_store")
DEFAULT_TARGET = "127.0.0.1:8001"

Store = Annotated[
    Path, typer.Option("--store", "-s", envvar="TURNOUT_STORE", metavar="DIR", help="The model store's directory.")
]


def _address(target: str | None) -> str | None:
    """Return what gRPC goes to: of a URL its host and port."""
    if target is None or "://" not in target:
        return target
    from turnout.target import resolve

    try:
        return resolve(target, secure=False)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Gateway = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        envvar="TURNOUT_TARGET",
        metavar="HOST:PORT",
        help="The gateway to ask.",
        callback=_address,
    ),
]
InsteadOfStore = Annotated[
    str | None,
    typer.Option("--target", "-t", metavar="HOST:PORT", help="Ask this gateway, not the store.", callback=_address),
]
Timeout = Annotated[float, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="How long a call may take.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.", autocompletion=models)]
RouteArgument = Annotated[str, typer.Argument(metavar="ROUTE", help="The route's name.", autocompletion=routes)]


@contextlib.contextmanager
def connected(target: str, *, timeout: float = 10.0, retries: int = 3) -> Iterator[turnout.Client]:
    """Lend a client; what goes wrong with its calls becomes a `CommandError` with the reason and the code in it."""
    import turnout

    try:
        with turnout.Client(target, timeout=timeout, retries=retries) as client:
            yield client
    except turnout.TurnoutError as error:
        code = exits.BY_CLIENT_ERROR.get(type(error).__name__, exits.UNAVAILABLE)
        why = error.code if error.reason == error.code else f"{error.reason}, {error.code}"
        raise CommandError(f"{error} ({why})", code) from error
    except UnicodeEncodeError as error:
        raise typer.BadParameter(f"{error.object!r} is not UTF-8 text") from error
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def opened(store: Path) -> DirectoryStore:
    """Return the store at *store*."""
    return DirectoryStore(store)


def by(command: str) -> By:
    """Return who runs *command*, as the audit is to say it: the process's user, whatever its environment claims."""
    user = os.geteuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = f"uid {user}"
    return By(f"{name}@{platform.node()}", f"turnout {command}")


def read_text(file: Path) -> str:
    """Return the text in *file*, or on stdin for `-`.

    Raises:
        CommandError: it cannot be read, or is not UTF-8.
    """
    try:
        return sys.stdin.buffer.read().decode() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror or error}", exits.NOT_FOUND) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: not UTF-8 text", exits.INVALID) from error


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Return `NAME=VALUE` texts as a dict.

    Raises:
        typer.BadParameter: one is not of that form, or a name stands twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{option}: found {text!r}; expected NAME=VALUE")
        if name in found:
            raise typer.BadParameter(f"{option}: {name!r} stands twice")
        found[name] = value
    return found


def scalar(text: str) -> Any:
    """Return a value as JSON would read it, and as plain text where it is no JSON scalar: `0.7`, `true`, `Ideal`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, dict | list) else value


def selector(text: str) -> int | str:
    """Return a version number as int, a label as it is."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text
