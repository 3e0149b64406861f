"""`turnout bench`: load on a gateway, and what came of it."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer

from turnout_server.cli import bench_view, exits, options, output
from turnout_server.cli.complete import routes
from turnout_server.cli.exits import CommandError

if TYPE_CHECKING:
    from turnout_server.load import CallError, Plan, Result
    from turnout_server.load.messages import Request

    Number = TypeVar("Number", int, float)

_CALLERS = 8
_VARIANTS = 16
"""How many different requests are made up."""
_ASK_S = 10.0
"""How long the questions before the load may take, in seconds."""

_REQUESTS = "The requests"

_EXITS = {
    "INVALID_ARGUMENT": exits.INVALID,
    "OUT_OF_RANGE": exits.INVALID,
    "NOT_FOUND": exits.NOT_FOUND,
    "PERMISSION_DENIED": exits.FORBIDDEN,
    "UNAUTHENTICATED": exits.FORBIDDEN,
    "INTERNAL": exits.INTERNAL,
    "UNKNOWN": exits.INTERNAL,
    "DATA_LOSS": exits.INTERNAL,
}
"""By the gRPC status code; what is missing here is `UNAVAILABLE`."""

_HOPELESS = frozenset({*_EXITS, "UNAVAILABLE", "UNIMPLEMENTED"} - {"INTERNAL", "UNKNOWN", "DATA_LOSS"})
"""Answers to the first request that all others would get too."""


class _Source(NamedTuple):
    """Where requests come from."""

    route: str
    version: str
    given: list[Request] | None
    """From --data; None to make them up."""
    rows: int
    axis: int
    seed: int
    units: int


def bench(
    route: Annotated[
        str, typer.Option("--route", "-r", metavar="ROUTE", help="The route, or the model.", autocompletion=routes)
    ],
    target: options.Gateway = options.DEFAULT_TARGET,
    concurrency: Annotated[
        str | None,
        typer.Option(
            "--concurrency",
            "-c",
            metavar="N[,N...]",
            help="Callers, each with one call under way; 8. Several: a ladder.",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]", help="Requests a second, sent whether or not earlier ones were answered; no callers."
        ),
    ] = None,
    duration: Annotated[float, typer.Option("--duration", "-d", metavar="SECONDS", help="How long to measure.")] = 10.0,
    warmup: Annotated[float, typer.Option(metavar="SECONDS", help="How long to send before measuring.")] = 1.0,
    connections: Annotated[int, typer.Option(min=1, metavar="N", help="TCP connections.")] = 1,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Each call's deadline; none by default.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Requests as JSON bodies of the Open Inference REST API, one or a list; - is stdin.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Rows of made-up requests; 1.", rich_help_panel=_REQUESTS)
    ] = None,
    axis: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Size of their other free axes; 1.", rich_help_panel=_REQUESTS),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Of their randomness; 0.", rich_help_panel=_REQUESTS)
    ] = None,
    unit_count: Annotated[
        int, typer.Option(min=0, metavar="N", help="Spread over N units; 0 names none.", rich_help_panel=_REQUESTS)
    ] = 0,
    version: Annotated[
        str,
        typer.Option(metavar="VERSION", help="A version or label, to pin requests to.", rich_help_panel=_REQUESTS),
    ] = "",
    json: options.Json = False,
) -> None:
    """Put load on a route, and show throughput, latency, errors, and who answered.

    Without --data, requests are made up from the model's signature. Ctrl-C ends the run early, with what was measured.
    """
    import uvloop

    from turnout_server.load import CallError, Plan

    if concurrency is not None and rate is not None:
        raise typer.BadParameter(
            "--rate sends whether or not earlier requests were answered; it takes no --concurrency"
        )
    if data is not None and (rows, axis, seed) != (None, None, None):
        raise typer.BadParameter("--rows, --axis and --seed are for made-up requests, and --data has its own")
    source = _Source(route, version, _read(data), rows or 1, 1 if axis is None else axis, seed or 0, unit_count)
    try:
        plan = Plan(
            target=target,
            requests=(b"",),
            seconds=duration,
            warmup_s=warmup,
            connections=connections,
            timeout_s=timeout,
        )
        if rate is None:
            callers = _numbers(concurrency or str(_CALLERS), "--concurrency", int)
            plans = [dataclasses.replace(plan, concurrency=one) for one in callers]
        else:
            plans = [dataclasses.replace(plan, rate=one) for one in _numbers(rate, "--rate", float)]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        runs: list[tuple[Plan, Result]] = uvloop.run(_bench(source, plans, quiet=json))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except CallError as error:
        raise _command_error(error) from error
    _report(source, runs, json=json)


def _numbers(text: str, option: str, kind: Callable[[str], Number]) -> list[Number]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{option}: found {text!r}; expected a number, or several with commas") from None


def _read(file: Path | None) -> list[Request] | None:
    if file is None:
        return None
    from turnout_server.load.messages import MessageError, from_json

    try:
        return from_json(options.read_text(file))
    except MessageError as error:
        raise CommandError(f"{file}: {error}", exits.INVALID) from error


def _command_error(error: CallError) -> CommandError:
    return CommandError(f"{error.message or 'no message'} ({error.code})", _EXITS.get(error.code, exits.UNAVAILABLE))


# ---------------------------------------------------------------- running


async def _bench(source: _Source, plans: list[Plan], *, quiet: bool) -> list[tuple[Plan, Result]]:
    from turnout_server.load import run

    bodies = await _bodies(source, plans[0])
    plans = [dataclasses.replace(plan, requests=bodies) for plan in plans]
    await _try_first(plans[0])
    runs: list[tuple[Plan, Result]] = []
    with _stopped_by_ctrl_c() as stop:
        for plan in plans:
            with bench_view.watching(source.route, plan, quiet=quiet) as view:
                runs.append((plan, await run(plan, view.show, every_s=view.every_s, stop=stop)))
            if stop.is_set():
                break
    return runs


async def _bodies(source: _Source, plan: Plan) -> tuple[bytes, ...]:
    from turnout_server.load import messages
    from turnout_server.load.plan import MODEL_METADATA

    try:
        requests = source.given
        if requests is None:
            inputs = messages.signature(
                await _ask(plan, MODEL_METADATA, messages.metadata_request(source.route, source.version))
            )
            requests = messages.made_up(inputs, rows=source.rows, axis=source.axis, count=_VARIANTS, seed=source.seed)
        return messages.serialised(source.route, source.version, requests, source.units)
    except messages.MessageError as error:
        raise CommandError(str(error), exits.INVALID) from error


async def _try_first(plan: Plan) -> None:
    """Send one request by itself: what is wrong with all of them is said at once, and once."""
    from turnout_server.load import CallError

    try:
        await _ask(plan, plan.method, plan.requests[0])
    except CallError as error:
        if error.code in _HOPELESS:
            raise


async def _ask(plan: Plan, method: str, body: bytes) -> bytes:
    from turnout_server.load import GrpcConnection, ask

    # Not the calls' own deadline: a connection's first call takes longer than those that are measured.
    connection = GrpcConnection(dataclasses.replace(plan, method=method, timeout_s=_ASK_S))
    try:
        await connection.open()
        return await ask(connection, body)
    finally:
        await connection.close()


@contextmanager
def _stopped_by_ctrl_c() -> Iterator[asyncio.Event]:
    """Lend an event that the first Ctrl-C sets; a second one does not wait."""
    loop, task, stop = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def interrupted() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        loop.remove_signal_handler(signal.SIGINT)


# ---------------------------------------------------------------- reporting


def _report(source: _Source, runs: list[tuple[Plan, Result]], *, json: bool) -> None:
    if json:
        output.json(
            {
                "target": runs[0][0].target,
                "route": source.route,
                "version": source.version,
                "connections": runs[0][0].connections,
                "runs": [
                    {"concurrency": None if plan.rate else plan.concurrency, "rate": plan.rate, **result.summary()}
                    for plan, result in runs
                ],
            }
        )
    else:
        bench_view.report(source.route, runs)
    codes: Counter[str] = Counter()
    for plan, result in runs:
        codes += result.codes
        if result.generator_bound:
            output.note(
                f"{bench_view.named(plan)}: this process used {output.percent(round(result.cpu_share, 2))} of a core; "
                "the figures may be the generator's rather than the server's"
            )
    if any(result.stopped_early for _, result in runs):
        raise typer.Exit(exits.INTERRUPTED)
    if not codes["OK"]:
        commonest = codes.most_common(1)
        code = commonest[0][0] if commonest else "no answer"
        raise CommandError(f"no call was answered ({code})", _EXITS.get(code, exits.UNAVAILABLE))
