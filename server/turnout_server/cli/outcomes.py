"""`turnout outcomes`: what units did later, brought in from elsewhere."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from turnout_server.cli import exits, foreign, output, results
from turnout_server.cli.exits import CommandError
from turnout_server.cli.journal import Directory, Json, KeyFile

outcomes = typer.Typer(help="Bring in what units did later: orders, clicks, revenue.", no_args_is_help=True)


@outcomes.command("import")
def import_(
    directory: Directory,
    files: foreign.MaybeFiles = None,
    sql: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="DSN QUERY",
            help="Instead of files, what a query finds: postgresql://..., sqlite:FILE, duckdb:FILE.",
        ),
    ] = None,
    pairs: foreign.Pairs = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The name of all outcomes.")] = None,
    id_from: Annotated[
        str | None,
        typer.Option(metavar="COLUMN,...", help="Columns that together tell outcomes apart, where none has an id."),
    ] = None,
    key_file: KeyFile = None,
    skip_bad: foreign.SkipBad = False,
    json: Json = False,
) -> None:
    """Take outcomes from CSV, Parquet or a database: PostgreSQL, SQLite, DuckDB. Twice is once."""
    from turnout_server.outcomes.foreign import Terms, import_files, import_query

    if (sql is None) == (not files):
        raise CommandError(
            "expected either files or --sql DSN QUERY; see `turnout outcomes import --help`", exits.USAGE
        )
    terms = Terms(pairs or (), name, id_from.split(",") if id_from else (), key_file, skip_bad)
    foreign.found(files or ())
    done = import_query(directory, *sql, terms) if sql is not None else import_files(directory, files or (), terms)
    foreign.remark(done.unused, done.refused, directory if done.is_new_key else None)
    if done.refused.count and not done.rows + done.duplicates:
        raise foreign.all_or_nothing(done.refused, skip_bad)
    if done.conflicts:
        output.note(
            f"note: {output.counted(done.conflicts, 'id')} with more than one content: all of it is kept, "
            "and an analysis counts none of it"
        )
    if json:
        output.json(msgspec.to_builtins(done))
    else:
        files_ = f" in {output.counted(done.files, 'file')}" if done.files else ""
        there = f"; left out {output.counted(done.duplicates, 'duplicate')}" if done.duplicates else ""
        results.say(f"imported {output.counted(done.rows, 'outcome')}{files_}{there}")
