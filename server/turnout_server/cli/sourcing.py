"""What `turnout publish` is given, as an ONNX file: what is no such file is converted first."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import typer

from turnout_server.cli import exits, output
from turnout_server.cli.exits import CommandError
from turnout_server.sources.preparation import Prepared, prepare
from turnout_server.sources.source import SourceError
from turnout_server.store.manifest import Lineage
from turnout_server.vocabulary.signature import Signature


def prepared(
    context: typer.Context, source: str, unpickle: bool, columns: Mapping[str, str], timeout_s: float
) -> Prepared:
    """Return the ONNX file of *source*, which is there until the command ends.

    Raises:
        CommandError: there is no such file.
        typer.Exit: it cannot become one; why, and what makes one by hand, has been said.
        SourceError: it cannot become one.
    """
    scratch = context.with_resource(tempfile.TemporaryDirectory(prefix="turnout-publish-"))
    try:
        found = prepare(source, Path(scratch), trusted=unpickle, columns=columns, timeout_s=timeout_s)
    except FileNotFoundError:
        raise CommandError(f"{source}: no such file", exits.NOT_FOUND) from None
    except SourceError as error:
        if not error.lines:
            raise
        output.error(error.message)
        for line in error.lines:
            output.note(line)
        raise typer.Exit(exits.code_of(error)) from None
    if found.framework:
        output.note(f"converted {source} ({found.framework})")
    for note in found.notes:
        output.note(f"note: {note}")
    return found


def with_columns(signature: Signature, found: Prepared) -> Signature:
    """Return a graph's signature with its features' names, where its one input is a matrix of just so many."""
    names = found.columns
    if len(signature.inputs) != 1 or not names or len(set(names)) != len(names):
        return signature
    document: dict[str, Any] = msgspec.to_builtins(signature)
    if signature.inputs[0].shape != (-1, len(names)):
        return signature
    document["inputs"][0]["columns"] = [{"name": name} for name in names]
    return msgspec.convert(document, Signature)


def with_origin(lineage: Lineage, found: Prepared) -> Lineage:
    """Return what a manifest says of where the version comes from; what it leaves out is filled in."""
    return msgspec.structs.replace(
        lineage,
        framework=lineage.framework or found.framework,
        notes=lineage.notes or found.origin,
        metrics=lineage.metrics or dict(found.metrics),
    )
