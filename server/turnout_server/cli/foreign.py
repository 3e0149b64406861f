"""What commands that import somebody's tables have in common: options, and what they say of rows that they refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turnout_server.cli import exits, output
from turnout_server.cli.exits import CommandError

if TYPE_CHECKING:
    from turnout_server.journal.foreign_rows import Refusals

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV with a header, also .gz, or Parquet.")]
MaybeFiles = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILE...]", help="CSV with a header, also .gz, or Parquet.")
]
Pairs = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="COLUMN=FIELD", help="Which column is which field, where names differ. Repeatable."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Import the other rows where some are refused.")]


def found(files: Sequence[Path]) -> None:
    """See that *files* are there.

    Raises:
        CommandError: one is not.
    """
    for file in files:
        if not file.is_file():
            raise CommandError(f"no file at {file}", exits.NOT_FOUND)


def remark(unused: Mapping[str, Sequence[str]], refused: Refusals, made_key_in: Path | None) -> None:
    """Say on stderr what was left out, and that a journal has a key now."""
    for name, columns in unused.items():
        output.note(f"note: {name}: not imported: {', '.join(columns)}")
    for line in refused.first:
        output.note(f"refused: {line}")
    if refused.count > len(refused.first):
        output.note(f"refused: and {refused.count - len(refused.first)} more")
    if made_key_in is not None:
        output.note(f"note: a key for units was made in {made_key_in}; gateways on other journals have to share it")


def all_or_nothing(refused: Refusals, skip_bad: bool) -> CommandError:
    """Return the error of an import that imported nothing since rows were refused."""
    rows = f"{output.counted(refused.count, 'row')} refused"
    advice = "and no other is there" if skip_bad else "so nothing is imported; --skip-bad imports the others"
    return CommandError(f"{rows}, {advice}", exits.INVALID)
