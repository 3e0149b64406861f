"""`turnout health`: for container health checks. Most are answered by `probe` before this module is imported."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from turnout_server.cli import exits, options, output, probe
from turnout_server.cli.exits import CommandError


def health(
    target: options.Gateway = options.DEFAULT_TARGET,
    service: Annotated[
        str,
        typer.Option(metavar="NAME", help="A service's full name, or route/NAME; the whole gateway by default."),
    ] = "",
    timeout: options.Timeout = probe.DEFAULT_TIMEOUT_S,
    json: options.Json = False,
) -> None:
    """Exit with 0 if a gateway is SERVING; with 1, and the reason, if it is not or does not answer."""
    status, why = asked(target, service, timeout)
    if json:
        output.json({"target": target, "service": service, "status": status, "why": why})
    else:
        output.say(probe.told((status, why)))
    if status != probe.SERVING:
        raise typer.Exit(exits.FAILED)


def asked(target: str, service: str, timeout_s: float) -> probe.Answer:
    """Return what a gateway says of its health, and why.

    Raises:
        CommandError: it does not answer, or has no such service.
    """
    try:
        answer = probe.ask(target, service, timeout_s)
    except probe.NoAnswerError as error:
        raise CommandError(str(error), exits.FAILED) from error
    except UnicodeEncodeError as error:
        raise typer.BadParameter(f"{error.object!r} is not UTF-8 text") from error
    if answer is not None:
        return answer
    try:
        with options.connected(target, timeout=timeout_s, retries=0) as client:
            status = client.health(service)
    except CommandError as failure:
        raise CommandError(failure.message, exits.FAILED) from failure
    if status != probe.SERVING:  # the client does not know why; it has found out that the name is quickly resolved
        with contextlib.suppress(probe.NoAnswerError):
            return probe.ask(target, service, timeout_s, any_name=True) or (status, "")
    return status, ""
