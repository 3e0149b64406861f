"""`turnout health`: for container health checks, so it has to start fast."""

from __future__ import annotations

from typing import Annotated

import typer

from turnout_server.cli import exits, options, output
from turnout_server.cli.exits import CommandError


def health(
    target: options.Gateway = options.DEFAULT_TARGET,
    service: Annotated[
        str, typer.Option(metavar="NAME", help="A service's full name; the whole gateway by default.")
    ] = "",
    timeout: options.Timeout = 3.0,
    json: options.Json = False,
) -> None:
    """Exit with 0 if a gateway is SERVING, with 1 if it is not or does not answer."""
    try:
        with options.connected(target, timeout=timeout, retries=0) as client:
            status = client.health(service)
    except CommandError as failure:
        raise CommandError(failure.message, exits.FAILED) from failure
    if json:
        output.json({"target": target, "service": service, "status": status})
    else:
        output.say(status)
    if status != "SERVING":
        raise typer.Exit(exits.FAILED)
