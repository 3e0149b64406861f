"""`turnout experiment ramp`, `pause` and `resume`: how many units take part, while an experiment runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from turnout_server.cli import options, output
from turnout_server.cli.complete import experiments

if TYPE_CHECKING:
    from turnout_server.experiments.rollout import Standing, Verb

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="An experiment that was started.", autocompletion=experiments)
]
Routes = Annotated[
    Path | None, typer.Option("--routes", metavar="FILE", help="A gateway's route table in place of the store's.")
]
Form = Annotated[Literal["table", "json"], typer.Option("--format", help="For people, or for scripts.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="For those who read it later.")]


def ramp(
    name: Name,
    to: Annotated[
        str, typer.Option("--enrolment", metavar="SHARE", help="The share of units that takes part: 20%, or 0.2.")
    ],
    why: Why = "",
    store: options.Store = options.DEFAULT_STORE,
    routes: Routes = None,
    form: Form = "table",
    json: options.Json = False,
) -> None:
    """Let more units into an experiment; none that takes part leaves or changes arms, and the epoch goes on.

    The route table stays as it is: what is decided is laid over it, in rollouts/<route>.json.
    """
    _decide("ramp", name, store, routes, why, json or form == "json", _share(to))


def pause(
    name: Name,
    why: Why = "",
    store: options.Store = options.DEFAULT_STORE,
    routes: Routes = None,
    form: Form = "table",
    json: options.Json = False,
) -> None:
    """Give every unit the control until `resume`; what units do that have been exposed still counts."""
    _decide("pause", name, store, routes, why, json or form == "json")


def resume(
    name: Name,
    why: Why = "",
    store: options.Store = options.DEFAULT_STORE,
    routes: Routes = None,
    form: Form = "table",
    json: options.Json = False,
) -> None:
    """Let those units take part again that did before `pause`; each is in the arm that it was in."""
    _decide("resume", name, store, routes, why, json or form == "json")


def _decide(
    verb: Verb, name: str, store: Path, routes: Path | None, why: str, json: bool, to: float = float("nan")
) -> None:
    from turnout_server.experiments.rollout import Rollout

    by = options.by(f"experiment {verb}")
    rollout = Rollout(options.opened(store), None if routes is None else options.read_text(routes))
    before, after = rollout.decide(verb, name, datetime.now(UTC), by, why=why, to=to)
    if json:
        output.json({"experiment": name, "before": document(before), "after": document(after)})
    else:
        output.say(f"{_DONE[verb]} {name}: {described(before)} -> {described(after)}")


_DONE = {"ramp": "ramped", "pause": "paused", "resume": "resumed"}


def document(standing: Standing) -> dict[str, object]:
    """Return how an enrolment stands, for scripts."""
    return {
        "enrolment": standing.enrolment,
        "paused": standing.resumes_at is not None,
        "resumes_at": standing.resumes_at,
    }


def described(standing: Standing) -> str:
    """Return how an enrolment stands, for people."""
    if standing.resumes_at is None:
        return f"enrolment {output.percent(standing.enrolment)}"
    return f"paused, to be resumed at {output.percent(standing.resumes_at)}"


def _share(given: str) -> float:
    is_percent = given.endswith("%")
    text = given.removesuffix("%").strip()
    # What float() takes besides, as `nan`, `1_0` and `1e3`, is no share that people mean.
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 20:
        raise typer.BadParameter(f"--enrolment: found {given!r}; expected a share, as 20% or 0.2")
    return float(text) / 100 if is_percent else float(text)
