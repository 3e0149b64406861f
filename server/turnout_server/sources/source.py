"""What was given to be published: told by what is in it, before anything is run."""

from __future__ import annotations

import enum
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from turnout_server.vocabulary.errors import Kind as ErrorKind
from turnout_server.vocabulary.errors import TurnoutError

_HEAD_BYTES = 4096
_REMOTE = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_MLFLOW = ("models:/", "runs:/")
_FETCH = {
    "s3": "aws s3 cp --recursive",
    "gs": "gcloud storage cp --recursive",
    "az": "azcopy copy --recursive",
    "http": "curl -O",
    "https": "curl -O",
}
_PICKLES = (".pkl", ".pickle", ".joblib", ".cloudpickle")
_TORCH = (".pt", ".pth", ".pt2", ".ckpt")
_WITHOUT = {".safetensors": "TRANSFORMERS", ".keras": "KERAS", ".h5": "KERAS", ".hdf5": "KERAS", ".cbm": "CATBOOST"}


class SourceError(TurnoutError):
    """It cannot be published as it is; the message says what can."""

    reason = "SOURCE_UNSUPPORTED"
    kind = ErrorKind.INVALID

    def __init__(self, message: str, lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.lines = lines
        """What makes an ONNX file of it by hand, for a shell and for Python."""


class Kind(enum.StrEnum):
    """What a source is."""

    ONNX = "an ONNX file"
    MLFLOW = "a model of an MLflow registry"
    MLMODEL = "an MLflow model"
    LIGHTGBM = "a LightGBM model"
    XGBOOST = "an XGBoost model"
    SKLEARN = "a pickled scikit-learn model"
    SKOPS = "a scikit-learn model of skops"
    TORCH = "a PyTorch model"
    SAVED_MODEL = "a TensorFlow SavedModel"
    KERAS = "a Keras model"
    TRANSFORMERS = "a Transformers model"
    CATBOOST = "a CatBoost model"

    @property
    def runs_code(self) -> bool:
        """Whether reading it runs whatever code its author put into it."""
        return self in (Kind.SKLEARN, Kind.TORCH)


class Source(NamedTuple):
    """A source, and where it is."""

    kind: Kind
    where: str
    """A path; of `MLFLOW` the registry's URI."""


def recognise(text: str) -> Source:
    """Say what a command line's argument is.

    Raises:
        FileNotFoundError: there is no such file.
        SourceError: it is somewhere else, or nothing that can become an ONNX file.
    """
    if text.startswith(_MLFLOW):
        return Source(Kind.MLFLOW, text)
    remote = _REMOTE.match(text)
    if remote is not None:
        scheme = remote[1].lower()
        fetch = f": `{_FETCH[scheme]} {text} ...`" if scheme in _FETCH else ""
        raise SourceError(f"{scheme}:// is not read yet; fetch the files first, and publish those{fetch}")
    path = Path(text)
    if path.is_dir():
        return Source(_kind_of_folder(path), text)
    if not path.exists():
        raise FileNotFoundError(text)
    if not path.is_file():
        raise SourceError(f"{text} is not a file")
    kind = _kind_of_file(path)
    graph = _graph_in(path.parent) if kind is Kind.TRANSFORMERS else None
    return Source(kind, text) if graph is None else Source(Kind.ONNX, str(graph))


def _kind_of_folder(path: Path) -> Kind:
    if (path / "MLmodel").is_file():
        return Kind.MLMODEL
    if (path / "saved_model.pb").is_file():
        return Kind.SAVED_MODEL
    if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
        return Kind.TRANSFORMERS
    graph = _graph_in(path)
    beside = f"; there is {graph.name} in it: publish that" if graph else ""
    raise SourceError(
        f"{path} is neither an MLflow model (MLmodel) nor a TensorFlow SavedModel (saved_model.pb){beside}"
    )


def _graph_in(path: Path) -> Path | None:
    graphs = sorted(path.glob("*.onnx"))
    return graphs[0] if len(graphs) == 1 else None


def _kind_of_file(path: Path) -> Kind:
    """Tell by the first bytes, and by the name where many begin alike; what nothing tells is taken for ONNX."""
    with path.open("rb") as reader:
        head = reader.read(_HEAD_BYTES)
    suffix = path.suffix.lower()
    if head.startswith(b"tree\n"):
        return Kind.LIGHTGBM
    if (head.startswith(b"{") and b"learner" in head) or suffix == ".ubj":
        return Kind.XGBOOST
    if suffix in _WITHOUT:
        return Kind[_WITHOUT[suffix]]
    if suffix == ".skops":
        return Kind.SKOPS
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path)
    if suffix in _TORCH:
        return Kind.TORCH
    # Protocols 2 and up say so; older ones are text, and compressed ones anything.
    if suffix in _PICKLES or (len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5):
        return Kind.SKLEARN
    return Kind.ONNX


def _kind_of_archive(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise SourceError(f"{path} looks like an archive, and is a broken one: {error}") from error
    if any(name.endswith(("/data.pkl", "/archive_format")) or name in ("data.pkl", "archive_format") for name in names):
        return Kind.TORCH
    if "schema.json" in names:
        return Kind.SKOPS
    raise SourceError(f"{path} is an archive; unpack it, and publish what is in it")
