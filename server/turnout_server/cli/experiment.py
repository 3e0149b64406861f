"""`turnout experiment`: asks a question of a route's traffic, and says what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from turnout_server.cli import enrolment, exits, experiment_view, options, output, table
from turnout_server.cli.exits import CommandError

if TYPE_CHECKING:
    from turnout_server.experiments.added import Added
    from turnout_server.experiments.belief import Models
    from turnout_server.experiments.definition import Experiment
    from turnout_server.experiments.findings import Findings
    from turnout_server.experiments.rollout import History
    from turnout_server.routing.decide import Names
    from turnout_server.routing.table import CompiledRoute

experiment = typer.Typer(help="Declare an experiment on a route, and learn which arm is better.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The experiment's YAML; - reads it from stdin.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="An experiment that was started.")]
Which = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="An experiment that was started, or a past one's YAML file.")
]
Journal = Annotated[
    Path, typer.Option("--journal", "-j", envvar="TURNOUT_JOURNAL", metavar="DIR", help="The journal's directory.")
]
Routes = Annotated[
    Path | None, typer.Option("--routes", metavar="FILE", help="A route table to use in place of the store's.")
]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="TIME", help="What was known then, as 2026-11-29T12:00Z; now, if left out."),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="Of the database; changes no result.")
]


# ---------------------------------------------------------------- before


@experiment.command()
def check(
    file: FileArgument, store: options.Store = options.DEFAULT_STORE, routes: Routes = None, json: options.Json = False
) -> None:
    """Check a definition against the route table and what runs already, and say what it can find."""
    from turnout_server.experiments import planning, started

    wanted = _read(file)
    directory = options.opened(store)
    route, names = _route(wanted, store, routes)
    with _placed(file):
        frozen = started.freeze(wanted, route, names, _now(), options.by("experiment check").who)
    started.Ledger(directory.blobs).check(frozen)
    experiment_view.plan(wanted, frozen.arms, planning.planned(wanted), json=json)


@experiment.command()
def power(
    file: FileArgument,
    units_a_day: Annotated[
        float | None, typer.Option("--units-a-day", min=1e-9, metavar="N", help="New units that the route gets a day.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Say how many units an experiment needs, and how long that takes."""
    from turnout_server.experiments import planning

    wanted = _read(file)
    planned = planning.planned(wanted)
    if planned is None:
        problem = f"$.metrics.{wanted.primary}.baseline: missing; what the metric is today says what it takes"
        raise CommandError(f"{file}: {problem}", exits.INVALID)
    experiment_view.power(wanted, planned, units_a_day, json=json)


@experiment.command()
def start(
    file: FileArgument, store: options.Store = options.DEFAULT_STORE, routes: Routes = None, json: options.Json = False
) -> None:
    """Start an experiment: its definition and versions are fixed from now on, for good."""
    from turnout_server.experiments import started

    wanted = _read(file)
    directory = options.opened(store)
    route, names = _route(wanted, store, routes)
    with _placed(file):
        frozen = started.freeze(wanted, route, names, _now(), options.by("experiment start").who)
    started.Ledger(directory.blobs).start(frozen)
    if json:
        output.json({"experiment": wanted.name, "digest": frozen.digest, "start": frozen.experiment.start})
    else:
        output.say(f"started {wanted.name} on route {wanted.route}, definition {frozen.digest[:12]}")


@experiment.command(name="add-metric")
def add_metric(
    name: NameArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML of metrics, as below `metrics`; - reads it from stdin.")
    ],
    store: options.Store = options.DEFAULT_STORE,
) -> None:
    """Add secondary metrics to an experiment that has started: they are marked everywhere, and decide nothing."""
    from turnout_server.experiments.added import AddedMetrics, parse
    from turnout_server.experiments.started import Ledger

    blobs = options.opened(store).blobs
    fixed, _ = Ledger(blobs).get(name)
    metrics = AddedMetrics(blobs)
    with _placed(file):
        by = options.by("experiment add-metric").who
        added = parse(options.read_text(file), fixed.experiment, metrics.of(name), _now(), by)
    metrics.add(name, added)
    for one in added:
        output.say(f"added {one.name} to {name}, after its start")


@experiment.command()
def stop(
    name: NameArgument,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="For those who read it later.")] = "",
    cool_down: Annotated[
        str | None,
        typer.Option(
            "--cool-down", metavar="TIME", help="How long no other gets its buckets: 7d; its longest window by default."
        ),
    ] = None,
    store: options.Store = options.DEFAULT_STORE,
    json: options.Json = False,
) -> None:
    """Stop an experiment: no unit enters any more. Those that have still get their windows.

    The route goes on as it is until somebody changes its table: nobody leaves an arm, and what is paused stays paused.
    """
    from turnout_server.experiments.rollout import Rollout
    from turnout_server.experiments.started import Ledger, Stopped

    directory = options.opened(store)
    ledger = Ledger(directory.blobs)
    started, before = ledger.get(name)
    history = Rollout(directory).history(started, before)
    by = options.by("experiment stop").who
    stopped = Stopped(at=_now(), by=by, why=why, cool_down_s=_cool_down(cool_down), steps=history.steps)
    ledger.stop(name, stopped)
    if history.problem:
        output.note(f"what was decided of its enrolment is not kept with the stop: {history.problem}")
    experiment_view.stopped(started, ledger.cools_until(started, stopped), stopped, json=json)


@experiment.command(name="list")
def list_all(store: options.Store = options.DEFAULT_STORE, json: options.Json = False) -> None:
    """List the experiments that were started; what cannot be read is said below them."""
    from turnout_server.experiments.started import Ledger
    from turnout_server.vocabulary.errors import StoreError

    ledger = Ledger(options.opened(store).blobs)
    found, unread = [], []
    for name in ledger.names():
        try:
            if ledger.is_there(name):
                found.append(ledger.get(name))
        except StoreError as error:
            unread.append(error)
    experiment_view.listing(found, ledger.holding(_now()), json=json)
    for other in unread[1:]:
        output.note(f"not listed: {other.message}")
    if unread:
        raise unread[0]


@experiment.command()
def status(
    name: NameArgument,
    journal: Journal,
    store: options.Store = options.DEFAULT_STORE,
    as_of: AsOf = None,
    form: Annotated[
        Literal["table", "json", "prometheus"],
        typer.Option("--format", help="For people, for scripts, or for Prometheus's node exporter to collect."),
    ] = "table",
    json: options.Json = False,
) -> None:
    """Say how many units an experiment has, and whether to believe them; nothing of what they did."""
    from turnout_server.experiments.rollout import Rollout

    found = _findings(name, store, journal, as_of, None)
    standing = None if _is_file(name) else Rollout(options.opened(store)).standing(name)
    experiment_view.status(found, standing, "json" if json else form)


experiment.command()(enrolment.ramp)
experiment.command()(enrolment.pause)
experiment.command()(enrolment.resume)


# ---------------------------------------------------------------- after


@experiment.command()
def analyse(
    which: Which,
    journal: Journal,
    store: options.Store = options.DEFAULT_STORE,
    as_of: AsOf = None,
    form: Annotated[
        Literal["table", "json"], typer.Option("--format", help="For people, or all of it for scripts.")
    ] = "table",
    threads: Threads = None,
) -> None:
    """Say which arm is better, how sure that is, and whether to believe it; exit with 3 if open, 4 if invalid."""
    found = _findings(which, store, journal, as_of, threads)
    if form == "json":
        experiment_view.document(found)
    else:
        experiment_view.show(found)
    _leave(found)


@experiment.command()
def report(
    which: Which,
    journal: Journal,
    to: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the page goes.")],
    store: options.Store = options.DEFAULT_STORE,
    as_of: AsOf = None,
    threads: Threads = None,
) -> None:
    """Write the analysis as one HTML page that needs no network; exit as `analyse` does."""
    from turnout_server.experiments import page, words

    found = _findings(which, store, journal, as_of, threads)
    to.write_text(page.render(found), encoding="utf-8")
    for verdict in found.verdicts:
        output.say(words.sentence(found, verdict))
    output.note(f"the report is in {to}")
    _leave(found)


@experiment.command()
def sql(
    which: Which,
    store: options.Store = options.DEFAULT_STORE,
    as_of: AsOf = None,
    dialect: Annotated[Literal["duckdb", "spark"], typer.Option("--dialect", help="Whose SQL.")] = "duckdb",
) -> None:
    """Print every statement of an analysis, over the views `records` and `outcomes`."""
    from turnout_server.experiments import query, spark, study
    from turnout_server.experiments.added import joined

    moment = _moment(as_of)
    wanted, models, _ = _experiment(which, store, moment)
    wanted = joined(wanted, _added(which, store) if models is not None else ())
    script = {"duckdb": query.script, "spark": spark.script}[dialect]
    output.say(script(wanted, study.period(wanted, moment)).rstrip())


def _leave(found: Findings) -> None:
    verdicts = {each.verdict for each in found.verdicts}
    if "INVALID" in verdicts:
        raise typer.Exit(exits.NOT_BELIEVED)
    if "INCONCLUSIVE" in verdicts:
        raise typer.Exit(exits.NO_VERDICT)


def _findings(which: str, store: Path, journal: Path, as_of: str | None, threads: int | None) -> Findings:
    from turnout_server.experiments.study import study

    if not journal.is_dir():
        raise CommandError(f"no journal at {journal}", exits.NOT_FOUND)
    moment = _moment(as_of)
    wanted, models, marks = _experiment(which, store, moment)
    is_frozen = models is not None
    added = _added(which, store) if is_frozen else ()
    return study(
        journal, wanted, moment, is_frozen=is_frozen, marks=marks, started=models, added=added, threads=threads
    )


def _is_file(which: str) -> bool:
    return which == "-" or which.endswith((".yaml", ".yml")) or "/" in which


def _experiment(which: str, store: Path, moment: datetime) -> tuple[Experiment, Models | None, tuple[str, ...]]:
    """Return an experiment, its arms if it was fixed at a start, and what a reader must know."""
    import msgspec

    from turnout_server.experiments import rollout
    from turnout_server.experiments.started import Ledger

    if _is_file(which):
        mark = "the definition is a file's, not one that was fixed at a start: it may have been chosen after looking"
        return _read(Path(which)), None, (mark,)
    directory = options.opened(store)
    found, stopped = Ledger(directory.blobs).get(which)
    models = {arm.name: (arm.model, arm.version) for arm in found.arms}
    marks = _marks(rollout.Rollout(directory).history(found, stopped), moment)
    if stopped is None:
        return found.experiment, models, marks
    why = f": {stopped.why}" if stopped.why else ""
    marks = (*marks, f"stopped at {stopped.at:%Y-%m-%d %H:%M} UTC by {stopped.by}{why}")
    return msgspec.structs.replace(found.experiment, stop=stopped.at), models, marks


def _marks(history: History, moment: datetime) -> tuple[str, ...]:
    """Return what a reader must know of how the enrolment went, as it was known at a *moment*."""
    from turnout_server.experiments.rollout import pauses, said

    unread = f"whether it was paused is not known: {history.problem}"
    return (*map(said, pauses(history.steps, moment)), *([unread] if history.problem else []))


def _added(name: str, store: Path) -> tuple[Added, ...]:
    from turnout_server.experiments.added import AddedMetrics

    return AddedMetrics(options.opened(store).blobs).of(name)


def _read(file: Path) -> Experiment:
    from turnout_server.experiments.text import parse

    with _placed(file):
        return parse(options.read_text(file))


@contextmanager
def _placed(file: Path) -> Iterator[None]:
    """Say which file a definition is in, where it is wrong."""
    from turnout_server.experiments.definition import InvalidExperimentError

    try:
        yield
    except InvalidExperimentError as error:
        raise CommandError(f"{file}: {error.message}", exits.INVALID) from error


def _route(wanted: Experiment, store: Path, routes: Path | None) -> tuple[CompiledRoute | None, Names]:
    from turnout_server.experiments.rollout import check_left

    directory = options.opened(store)
    text = directory.routes_text() if routes is None else options.read_text(routes)
    place = f"{store}/routes.yaml" if routes is None else str(routes)
    if text is None:
        raise CommandError(f"{place}: there is no route table; --routes names another one", exits.NOT_FOUND)
    parsed = table.laid(directory, table.read(place, text, directory)).table
    check_left(wanted, parsed)
    return parsed.get(wanted.route), table.names_in(directory, parsed)


def _cool_down(given: str | None) -> int | None:
    """Return how long that is, in seconds."""
    from turnout_server.experiments.metric import duration

    if given is None or given == "0":
        return None if given is None else 0
    found = duration(given)
    if found is None:
        raise CommandError(f"--cool-down: found {given!r}; expected 0, or a time as 90s, 12h, 7d or 2w", exits.USAGE)
    return found


def _moment(given: str | None) -> datetime:
    if given is None:
        return _now()
    try:
        found = datetime.fromisoformat(given)
    except ValueError as error:
        raise CommandError(f"--as-of: {given!r} is no time; expected one as 2026-11-29T12:00Z", exits.USAGE) from error
    try:
        moment = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:
        moment = None
    if moment is None or moment > _now():
        # What is not known yet would be taken for what did not happen, and open windows for closed ones.
        raise CommandError(f"--as-of: {given} is not in the past", exits.USAGE)
    return moment


def _now() -> datetime:
    return datetime.now(UTC)
