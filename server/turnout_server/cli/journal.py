"""`turnout journal`: what is in a journal, whether all of it is there, and forgetting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from turnout_server.cli import exits, foreign, output, results
from turnout_server.cli.exits import CommandError

if TYPE_CHECKING:
    from turnout_server.journal.accounts import Account, Ledger

journal = typer.Typer(help="Look into a journal: what was served, whether all of it is there.", no_args_is_help=True)

Directory = Annotated[
    Path, typer.Option("--journal", "-j", envvar="TURNOUT_JOURNAL", metavar="DIR", help="The journal's directory.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", metavar="FILE", help="The keys of units; else the journal's own.")
]
POLL_S = 1.0
"""How often `tail --follow` looks for new segments."""


def opened(directory: Path) -> Path:
    """Return *directory*.

    Raises:
        CommandError: it is none, and so more likely mistyped than an empty journal.
    """
    if not directory.is_dir():
        raise CommandError(f"no journal at {directory}", exits.NOT_FOUND)
    return directory


def note_unreadable(unreadable: Mapping[Path, str]) -> None:
    """Say on stderr which files an answer does without."""
    for file, problem in unreadable.items():
        output.note(f"note: left out {file.name}: {problem}")


# ---------------------------------------------------------------- accounts


@journal.command()
def status(directory: Directory, json: Json = False) -> None:
    """Show what became of every record, by start of a gateway."""
    from turnout_server.journal.accounts import accounts

    _show(accounts(opened(directory)), json)


@journal.command()
def verify(directory: Directory, json: Json = False) -> None:
    """Read every segment whole; exit with 1 if anything is missing or damaged."""
    from turnout_server.journal.accounts import accounts

    ledger = accounts(opened(directory), is_thorough=True)
    _show(ledger, json)
    if not ledger.is_accounted:
        wrong = sum(not each.is_accounted for each in ledger.accounts)
        lost = sum(each.missing + each.gone for each in ledger.accounts)
        which = f"{wrong} of {len(ledger.accounts)} boots" if wrong else f"{len(ledger.strangers)} files"
        missing = f"; at most {lost} records are missing" if lost else ""
        raise CommandError(f"{which} are not in order{missing}", exits.FAILED)


def _show(ledger: Ledger, json: bool) -> None:
    if json:
        boots = [_said(each) for each in ledger.accounts]
        output.json({"boots": boots, "strangers": ledger.strangers, "is_accounted": ledger.is_accounted})
        return
    if not ledger.accounts and not ledger.strangers:
        output.note("the journal is empty")
        return
    if ledger.accounts:
        columns = ("boot", "state", "offered", "written", "dropped", "pending", "missing")
        results.show(columns, [_row(each) for each in ledger.accounts], right=columns[2:], empty=False)
    for each in ledger.accounts:
        for line in _remarks(each):
            results.say(f"{each.instance}-{each.boot}: {line}")
    for name, problem in ledger.strangers.items():
        results.say(f"{name}: {problem}")


def _said(account: Account) -> dict[str, object]:
    fields = {name: value for name, value in account._asdict().items() if name != "marks"}
    return {**fields, "is_accounted": account.is_accounted}


def _row(each: Account) -> tuple[object, ...]:
    counts = (sum(each.dropped.values()), each.pending, each.missing + each.gone)
    name = f"{each.instance}-{each.boot}"
    return (name, each.state, each.offered, each.written, *(count or None for count in counts))


def _remarks(each: Account) -> Iterator[str]:
    if each.dropped:
        yield "dropped: " + ", ".join(f"{cause} {count}" for cause, count in sorted(each.dropped.items()))
    if each.forgotten:
        yield f"forgotten on request: {each.forgotten}"
    if each.missing:
        yield f"at most {each.missing} records are missing: offered, and neither written nor dropped"
    if each.gone:
        yield f"{each.gone} records were written and cannot be found or read"
    yield from each.problems


# ---------------------------------------------------------------- records


@journal.command()
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over records and outcomes.")],
    directory: Directory,
    json: Json = False,
) -> None:
    """Answer one SELECT over the views `records` and `outcomes`."""
    from turnout_server.outcomes import reading

    answer = reading.query(opened(directory), sql)
    if json:
        results.json(answer.columns, answer.rows)
    else:
        results.show(answer.columns, answer.rows)
    note_unreadable(answer.unreadable)


@journal.command()
def tail(
    directory: Directory,
    count: Annotated[int, typer.Option("-n", "--count", min=0, metavar="N", help="How many records.")] = 10,
    unit: Annotated[str | None, typer.Option(metavar="UNIT", help="Only this unit's.")] = None,
    route: Annotated[str | None, typer.Option(metavar="ROUTE", help="Only this route's.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    key_file: KeyFile = None,
    json: Json = False,
) -> None:
    """Show the last records, the newest last."""
    opened(directory)
    where, parameters = _filter(directory, unit, route, key_file)
    for columns, rows, unreadable in records(directory, where, parameters, count, time.sleep if follow else None):
        if json and follow:
            for one in results.objects(columns, rows, plain=True):
                output.json(one, indent=0)
        elif json:
            results.json(columns, rows)
        else:
            for one in results.objects(columns, rows):
                results.say(_line(one))
            if not rows and count and not follow:
                output.note("no such records" if unit is not None or route is not None else "no records yet")
        note_unreadable(unreadable)


def _filter(
    directory: Path, unit: str | None, route: str | None, key_file: Path | None
) -> tuple[str, dict[str, object]]:
    conditions: list[str] = []
    parameters: dict[str, object] = {}
    if unit is not None:
        from turnout_server.journal.keys import KEY, hashed, keys_in

        keys = keys_in(key_file or directory / KEY)
        parameters |= {f"unit{index}": hashed(unit, key) for index, key in enumerate(keys)}
        conditions.append(f"unit IN ({', '.join(f'${name}' for name in parameters)})")
    if route is not None:
        conditions.append("route = $route")
        parameters["route"] = route
    return " AND ".join(conditions) or "true", parameters


def records(
    directory: Path,
    where: str,
    parameters: Mapping[str, object],
    count: int,
    wait: Callable[[float], object] | None,
) -> Iterator[tuple[tuple[str, ...], list[tuple[Any, ...]], Mapping[Path, str]]]:
    """Yield the last *count* records, and then, with *wait*, for ever those of new segments.

    Each item is the columns, the rows, and what was left out and not said before.
    """
    from turnout_server.journal import reading

    newest = f"SELECT * FROM records WHERE {where} ORDER BY ts DESC, boot DESC, seq DESC LIMIT {count}"
    answer = reading.query(directory, newest, parameters)
    known, bad = {*answer.files, *answer.unreadable}, answer.unreadable
    yield answer.columns, answer.rows[::-1], bad
    while wait is not None:
        wait(POLL_S)
        later = f"SELECT * FROM records WHERE {where} ORDER BY ts, boot, seq"
        answer = reading.query(directory, later, parameters, known=known)
        fresh = {file: problem for file, problem in answer.unreadable.items() if file not in known}
        known |= {*answer.files, *fresh}
        if answer.rows or fresh:
            yield answer.columns, answer.rows, fresh


def _line(one: Mapping[str, Any]) -> str:
    """Return a record on one line: when, who, what came of it."""
    where = one["route"] or "-"
    copy = f"copy of {one['copy_of']}" if one["copy_of"] is not None else ""
    took = f"{one['took_us'] / 1000:.1f} ms" if one["took_us"] is not None else ""
    version = f"{one['model']} {one['version']}" if one["model"] else ""
    when = results.cell(one["ts"])
    parts = (when, where, one["assigned"], version, one["reason"], one["code"], took, copy, one["request_id"])
    return "  ".join(output.plain(part) for part in parts if part)


# ---------------------------------------------------------------- importing


@journal.command("import")
def import_(
    files: foreign.Files,
    directory: Directory,
    pairs: foreign.Pairs = None,
    route: Annotated[str | None, typer.Option(metavar="NAME", help="The route of all rows.")] = None,
    key_file: KeyFile = None,
    skip_bad: foreign.SkipBad = False,
    json: Json = False,
) -> None:
    """Take exposures that were logged elsewhere: CSV with a header, which gzip may have packed, or Parquet."""
    from turnout_server.journal.foreign import import_exposures

    foreign.found(files)
    done = import_exposures(directory, files, pairs=pairs or (), route=route, key_file=key_file, skip_bad=skip_bad)
    foreign.remark(done.unused, done.refused, directory if done.is_new_key else None)
    if done.refused.count and not done.rows:
        raise foreign.all_or_nothing(done.refused, skip_bad)
    if json:
        output.json(msgspec.to_builtins(done))
    elif done.was_there:
        results.say(f"{done.boot} is there already, with {output.counted(done.rows, 'record')}: nothing was done")
    elif done.first is None:
        output.note("no rows: nothing was done")
    else:
        counts = f"{output.counted(done.rows, 'record')} in {output.counted(done.segments, 'segment')}"
        results.say(f"imported {counts} as {done.boot}, from {results.cell(done.first)} to {results.cell(done.last)}")


# ---------------------------------------------------------------- forgetting


@journal.command()
def forget(
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="Whose records are to go, as callers name it.")],
    directory: Directory,
    key_file: KeyFile = None,
    json: Json = False,
) -> None:
    """Remove a unit's records and outcomes from every file; exit with 1 if some could not be looked into."""
    from turnout_server.outcomes.forget import forget as forget_unit

    done = forget_unit(opened(directory), unit, key_file)
    if json:
        output.json({**done._asdict(), "running": [boot._asdict() for boot in done.running]})
    else:
        results.say(f"forgot {output.counted(done.rows, 'record')} in {output.counted(len(done.segments), 'segment')}")
        if done.by_request:
            results.say(f"{output.counted(done.by_request, 'outcome')} of these named a request of the unit's")
    for boot in done.running:
        output.note(
            f"note: {boot.instance}-{boot.boot} is running: forget again when it has written what it holds (rotate_s)"
        )
    for key, count in done.unknown_keys.items():
        output.note(f"note: {count} records have a unit under key {key or '?'}, which is not here: they stay")
    for name, problem in done.unreadable.items():
        output.note(f"note: could not look into {name}: {problem}")
    if done.unreadable or done.unknown_keys:
        raise CommandError("some records could not be looked into, and may be the unit's", exits.FAILED)
