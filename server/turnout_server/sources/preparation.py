"""From a source to the ONNX file that is published, and what is known of it besides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from turnout_server.sources import conversion, mlmodel
from turnout_server.sources.conversation import GRAPH, Converted, Fetched, Request
from turnout_server.sources.source import Kind, Source, recognise


class Prepared(NamedTuple):
    """An ONNX file."""

    graph: Path
    framework: str = ""
    """What trained and what converted it; empty where it was there already."""
    origin: str = ""
    """Where it comes from, precisely enough to find it again; empty for a file."""
    columns: tuple[str, ...] = ()
    """The features' names, in order, where its one input is a matrix."""
    metrics: Mapping[str, float] = {}
    notes: tuple[str, ...] = ()


def prepare(
    text: str,
    scratch: Path,
    *,
    trusted: bool = False,
    columns: Mapping[str, str] | None = None,
    timeout_s: float = 300.0,
) -> Prepared:
    """Return the ONNX file of what *text* names, made in the folder *scratch* where it is another thing.

    Args:
        text: a path, or the URI of a model in an MLflow registry.
        scratch: an empty folder, which the file is in if it is made.
        trusted: whether code in the source may run.
        columns: the inputs' dtypes by column, as far as a sample says.
        timeout_s: how long a child may take to fetch or convert it, in seconds.

    Raises:
        FileNotFoundError: there is no such file.
        SourceError: it cannot be made an ONNX file; the message says what can be done.
    """
    source = recognise(text)
    origin, metrics, columns = "", {}, dict(columns or {})
    if source.kind is Kind.MLFLOW:
        fetched = conversion.run(Request(source.kind, source.where, _folder(scratch, "fetched")), timeout_s)
        assert isinstance(fetched, Fetched)
        origin = _origin(text, fetched)
        metrics = fetched.metrics
        source = recognise(fetched.folder)
    if source.kind is Kind.MLMODEL:
        found = mlmodel.read(Path(source.where))
        origin = origin or (f"{text}, MLflow run {found.run_id}" if found.run_id else text)
        columns = found.columns | columns
        source = found.source
    if source.kind is Kind.ONNX:
        return Prepared(Path(source.where), "", origin, (), metrics)
    return _converted(source, scratch, trusted, columns, timeout_s)._replace(origin=origin, metrics=metrics)


def _converted(source: Source, scratch: Path, trusted: bool, columns: dict[str, str], timeout_s: float) -> Prepared:
    conversion.check(source.kind, trusted)
    out = _folder(scratch, "converted")
    made = conversion.run(Request(source.kind, source.where, out, trusted, columns), timeout_s)
    assert isinstance(made, Converted)
    return Prepared(Path(out) / GRAPH, made.framework, "", tuple(made.columns), {}, tuple(made.notes))


def _origin(uri: str, fetched: Fetched) -> str:
    said = (f"version {fetched.version}" if fetched.version else "", f"run {fetched.run_id}" if fetched.run_id else "")
    details = ", ".join(filter(None, said))
    return f"MLflow {uri} ({details})" if details else f"MLflow {uri}"


def _folder(scratch: Path, name: str) -> str:
    made = scratch / name
    made.mkdir()
    return str(made)
