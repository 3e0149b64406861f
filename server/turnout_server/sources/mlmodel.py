"""An MLflow model: a folder whose `MLmodel` says in which flavours it is there, and what goes into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from turnout_server.config import NOT_YAML
from turnout_server.sources.source import Kind, Source, SourceError, recognise

MLMODEL = "MLmodel"
_MOST_BYTES = 1 << 22
_KEYS = {
    # A flavour's own name of the place where its model is; the flavours in the order in which they are tried.
    "onnx": ("data",),
    "lightgbm": ("data", "model"),
    "xgboost": ("data", "model"),
    "sklearn": ("pickled_model",),
    "pytorch": ("model_data",),
    "tensorflow": ("saved_model_dir", "data"),
    "transformers": ("model_binary", "source_model_name"),
    "sentence_transformers": ("model_binary", "data"),
    "catboost": ("data", "model"),
    "keras": ("data",),
}
_WHOLE_FOLDER = {
    "transformers": Kind.TRANSFORMERS,
    "sentence_transformers": Kind.TRANSFORMERS,
    "catboost": Kind.CATBOOST,
    "keras": Kind.KERAS,
}
_COLUMN_TYPES = {
    "boolean": "BOOL",
    "integer": "INT64",
    "long": "INT64",
    "float": "FP32",
    "double": "FP32",
    "string": "BYTES",
}
_PYTORCH_FILE = "model.pth"


class MlModel(NamedTuple):
    """What an MLflow model has for us."""

    source: Source
    flavour: str
    columns: dict[str, str]
    """The inputs' dtypes by column, in order, as its signature says; empty where that has no names."""
    run_id: str


def read(folder: Path) -> MlModel:
    """Read a folder's `MLmodel`, and recognise the model in the flavour that is the nearest to ONNX.

    Raises:
        SourceError: it cannot be read, has no flavour that can become an ONNX file, or leads out of the folder.
    """
    file = folder / MLMODEL
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise SourceError(f"{file} is larger than any MLmodel")
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{file}: {error.strerror}") from error
    except NOT_YAML as error:
        raise SourceError(f"{file}: not YAML: {' '.join(str(error).split())[:200]}") from error
    flavours = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavours, dict):
        raise SourceError(f"{file}: expected `flavors`")
    flavour = next((name for name in _KEYS if isinstance(flavours.get(name), dict)), None)
    if flavour is None:
        found = ", ".join(map(str, flavours)) or "none"
        raise SourceError(
            f"{file}: none of its flavours ({found}) can become an ONNX file; "
            "log the model with mlflow.onnx beside the flavour that it has"
        )
    columns = _columns(document.get("signature"))
    run_id = document.get("run_id")
    source = _source(folder, flavour, flavours[flavour])
    return MlModel(source, flavour, columns, run_id if isinstance(run_id, str) else "")


def _source(folder: Path, flavour: str, said: Mapping[str, Any]) -> Source:
    if flavour in _WHOLE_FOLDER:
        return Source(_WHOLE_FOLDER[flavour], str(folder))
    inside = next((said[key] for key in _KEYS[flavour] if isinstance(said.get(key), str)), None)
    if inside is None:
        raise SourceError(f"{folder / MLMODEL}: its flavour {flavour} does not say where the model is")
    path = folder / inside
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SourceError(f"{folder / MLMODEL}: its flavour {flavour} is at {inside!r}, outside the model's folder")
    if flavour == "pytorch" and path.is_dir():
        path = path / _PYTORCH_FILE
    if flavour == "tensorflow" and said.get("model_type") == "keras":
        return Source(Kind.KERAS, str(path))
    if not path.exists():
        raise SourceError(f"{folder / MLMODEL}: its flavour {flavour} is at {inside!r}, and that is not there")
    found = recognise(str(path))
    if found.kind is Kind.MLMODEL:
        raise SourceError(
            f"{folder / MLMODEL}: its flavour {flavour} is at {inside!r}, which is an MLflow model again; "
            "expected the model itself"
        )
    if flavour == "onnx" and found.kind is not Kind.ONNX:
        raise SourceError(f"{path} is {found.kind}, not an ONNX file")
    return found


def _columns(signature: Any) -> dict[str, str]:
    """Return the named columns of a signature's inputs; a type that no graph takes leaves them all out."""
    text = signature.get("inputs") if isinstance(signature, dict) else None
    try:
        inputs = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return {}
    if not isinstance(inputs, list):
        return {}
    found = {}
    for one in inputs:
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or str(one.get("type")) not in _COLUMN_TYPES:
            return {}
        found[name] = _COLUMN_TYPES[str(one["type"])]
    return found
