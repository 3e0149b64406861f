"""`turnout top`: who answers on a gateway, how fast and how badly, as it happens."""

from __future__ import annotations

import datetime
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple

import typer

from turnout_server.cli import exits, grid, options, output, top_view
from turnout_server.cli.exits import CommandError
from turnout_server.cli.readings import Reading, UnreadableError, address, fetch, parse
from turnout_server.vocabulary.errors import ConfigurationError

DEFAULT_METRICS = "127.0.0.1:9464"

Read = Callable[[], Reading]
"""Look at the gateway.

Raises:
    UnreadableError: it is not there.
"""


class Look(NamedTuple):
    """What there is to show."""

    screen: top_view.Screen | None
    """None before there were two readings of a gateway."""
    problem: str
    """Why the gateway could not be read the last time; empty if it could."""


def top(
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics", "-m", envvar="TURNOUT_METRICS", metavar="HOST:PORT", help="Where the gateway's metrics are."
        ),
    ] = DEFAULT_METRICS,
    every: Annotated[float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="How often to look.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, print that, and exit.")] = False,
    json: options.Json = False,
) -> None:
    """Show live who answers: requests a second, shares, errors, latency, queues and loads.

    It reads the metrics port, as Prometheus does. In a pipe it looks twice and exits, as with --once; with --json it
    goes on and prints a line a look, unless --once is given.
    """
    try:
        host, port = address(metrics)
    except ConfigurationError as error:
        raise typer.BadParameter(error.message) from error

    def read() -> Reading:
        return parse(fetch(host, port), time.monotonic())

    def looks() -> Iterator[Look]:
        return follow(read, lambda: time.sleep(every))

    place = f"http://{metrics}" if "://" not in metrics else metrics
    if once or not (json or sys.stdout.isatty()):
        _once(next(looks()), json=json)
    elif json:
        _stream(looks())
    else:
        _live(looks(), place)


def follow(read: Read, pause: Callable[[], None]) -> Iterator[Look]:
    """Yield what happened in each pause; a gateway that is away is looked for again, and the last screen kept."""
    before: Reading | None = None
    screen: top_view.Screen | None = None
    while True:
        try:
            after = read()
        except UnreadableError as error:
            before = None
            yield Look(screen, str(error))
        else:
            if before is not None:
                screen = top_view.between(before, after)
                yield Look(screen, "")
            before = after
        pause()


def _once(look: Look, *, json: bool) -> None:
    if look.screen is None or look.problem:
        raise CommandError(look.problem, exits.UNAVAILABLE)
    if json:
        output.json(top_view.document(look.screen, _now()))
        return
    output.say(top_view.heading(look.screen))
    output.say()
    width = output.width() if sys.stdout.isatty() else None
    for line in top_view.lines(look.screen, width):
        output.say(line)


def _stream(looks: Iterator[Look]) -> None:
    for look in looks:
        if look.problem or look.screen is None:
            output.json({"time": _now(), "problem": look.problem}, indent=0)
        else:
            output.json(top_view.document(look.screen, _now()), indent=0)
        sys.stdout.flush()


def _live(looks: Iterator[Look], place: str) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(
        Text(f"{place}: looking"), console=Console(), screen=True, auto_refresh=False, redirect_stdout=False
    ) as live:
        for look in looks:
            live.update(Text.from_ansi("\n".join(drawn(look, place))), refresh=True)


def drawn(look: Look, place: str) -> list[str]:
    """Return the lines of a terminal."""
    size = shutil.get_terminal_size((80, 24))
    where = f"{place}  {datetime.datetime.now().astimezone():%H:%M:%S}  Ctrl-C ends it"
    if look.screen is None:
        return [*_wrapped(where), "", *_wrapped(f"{output.plain(look.problem)}; trying again")]
    state = top_view.heading(look.screen)
    if look.problem:
        state = f"{output.plain(look.problem)}; trying again. What it was:"
    above = [*_wrapped(where), *_wrapped(state), ""]
    room = max(size.lines - len(above), 1)
    return [*above, *top_view.lines(look.screen, output.width(), room, coloured=not look.problem)]


def _wrapped(text: str) -> list[str]:
    return grid.wrap(text, output.width())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
