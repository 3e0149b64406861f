"""Conversions, each by the library that is made for it. They run in the child alone."""

from __future__ import annotations

import importlib
import importlib.metadata
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from turnout_server.sources.conversation import Converted, Request
from turnout_server.sources.source import Kind, SourceError

INPUT = "features"
"""What the one input is called of a graph that takes a matrix."""
_BINARY_XGBOOST = ".ubj"


class _Types(NamedTuple):
    """A converter's types of inputs."""

    module: str

    def of(self, dtype: str, shape: Sequence[int | None]) -> Any:
        """Return the type for a dtype and a shape."""
        names = {"FP32": "Float", "FP64": "Double", "INT64": "Int64", "BYTES": "String", "BOOL": "Boolean"}
        return getattr(importlib.import_module(self.module), f"{names[dtype]}TensorType")([*shape])


_SKL = _Types("skl2onnx.common.data_types")
_TOOLS = _Types("onnxmltools.convert.common.data_types")


def convert(request: Request, graph: Path) -> Converted:
    """Write the ONNX file *graph* for what is asked.

    Raises:
        ModuleNotFoundError: a library is not installed.
        SourceError: it is nothing that can be converted.
        Exception: whatever a library raises.
    """
    return _CONVERSIONS[request.kind](request, graph)


def _lightgbm(request: Request, graph: Path) -> Converted:
    lightgbm = importlib.import_module("lightgbm")
    return _lightgbm_model(lightgbm.Booster(model_file=request.where), graph)


def _lightgbm_model(model: Any, graph: Path) -> Converted:
    onnxmltools = importlib.import_module("onnxmltools")
    booster = getattr(model, "booster_", model)
    width = booster.num_feature()
    made = onnxmltools.convert_lightgbm(model, initial_types=[(INPUT, _TOOLS.of("FP32", [None, width]))], zipmap=False)
    notes = []
    if getattr(booster, "pandas_categorical", None):
        notes.append("categories are given as their codes, in the order of the training data's categories")
    return _written(made, graph, ("lightgbm", "onnxmltools"), booster.feature_name(), notes)


def _xgboost(request: Request, graph: Path) -> Converted:
    xgboost = importlib.import_module("xgboost")
    booster = xgboost.Booster()
    with Path(request.where).open("rb") as reader:
        is_text = reader.read(2) in (b'{"', b"{\n", b"{ ", b"{\r")
    if is_text or request.where.endswith(_BINARY_XGBOOST):
        booster.load_model(request.where)
    else:  # it tells by the name, and MLflow has others
        booster.load_model(bytearray(Path(request.where).read_bytes()))
    return _xgboost_model(booster, graph)


def _xgboost_model(model: Any, graph: Path) -> Converted:
    onnxmltools = importlib.import_module("onnxmltools")
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    width, names = booster.num_features(), booster.feature_names
    booster.feature_names = None  # the converter knows f0, f1 ... alone
    made = onnxmltools.convert_xgboost(model, initial_types=[(INPUT, _TOOLS.of("FP32", [None, width]))])
    return _written(made, graph, ("xgboost", "onnxmltools"), names or ())


def _sklearn(request: Request, graph: Path) -> Converted:
    joblib = importlib.import_module("joblib")  # reads plain pickles, too
    return _estimator(joblib.load(request.where), request.columns, graph)


def _skops(request: Request, graph: Path) -> Converted:
    io = importlib.import_module("skops.io")
    untrusted = io.get_untrusted_types(file=request.where)
    if untrusted and not request.trusted:
        raise SourceError(
            f"it has types that skops does not trust ({', '.join(untrusted)}); --unpickle says that you do"
        )
    return _estimator(io.load(request.where, trusted=untrusted), request.columns, graph)


def _estimator(model: Any, columns: Mapping[str, str], graph: Path) -> Converted:
    """Convert what has `predict`, by the library that it comes from."""
    origin = type(model).__module__.partition(".")[0]
    if origin == "lightgbm":
        return _lightgbm_model(model, graph)
    if origin == "xgboost":
        return _xgboost_model(model, graph)
    if not hasattr(model, "predict") and not hasattr(model, "transform"):
        raise SourceError(f"it holds a {type(model).__module__}.{type(model).__name__}, which is no model")
    skl2onnx = importlib.import_module("skl2onnx")
    names = [*map(str, getattr(model, "feature_names_in_", ()))]
    width = getattr(model, "n_features_in_", None) or len(names) or len(columns)
    by_column = _takes_columns(model)
    if by_column:
        if missing := [name for name in names if name not in columns]:
            raise SourceError(
                f"it chooses columns by name, and of which type they are nothing says ({', '.join(missing[:8])}); "
                "--sample FILE, a CSV file with some rows, does"
            )
        types = [(name, _SKL.of(columns[name], [None, 1])) for name in names]
    elif width:
        types = [(INPUT, _SKL.of("FP32", [None, width]))]
    else:
        raise SourceError("it does not say how many features it takes; --sample FILE, with some rows, does")
    options = {"zipmap": False} if hasattr(model, "predict_proba") else None
    made = skl2onnx.convert_sklearn(model, initial_types=types, options=options)
    return _written(made, graph, ("scikit-learn", "skl2onnx"), () if by_column else names)


def _takes_columns(model: Any) -> bool:
    """Say whether a model chooses columns by their names, as a `ColumnTransformer` does."""
    steps = [step for _, step in getattr(model, "steps", ())]
    inner = [step for step in (getattr(model, "estimator", None), *steps[:1]) if step is not None]
    return type(model).__name__ == "ColumnTransformer" or any(_takes_columns(each) for each in inner)


def _torch(request: Request, graph: Path) -> Converted:
    torch = importlib.import_module("torch")
    if request.where.endswith(".pt2"):
        return _torch_program(torch, request, graph)
    width = len(request.columns)
    if not width:
        raise SourceError("how many features it takes nothing says; --sample FILE, with some rows of numbers, does")
    example = (torch.zeros(2, width),)
    try:
        model = torch.jit.load(request.where, map_location="cpu")
    except RuntimeError:
        model = torch.load(request.where, map_location="cpu", weights_only=False)
    if not isinstance(model, torch.nn.Module):
        raise SourceError(
            f"it holds a {type(model).__name__}, weights perhaps, and no module: only its code can export it"
        )
    model.eval()
    axes = {INPUT: {0: "rows"}, "output": {0: "rows"}}
    names = {"input_names": [INPUT], "output_names": ["output"]}
    torch.onnx.export(model, example, str(graph), **names, dynamic_axes=axes, dynamo=False)
    return Converted(_releases("torch"), [*request.columns])


def _torch_program(torch: Any, request: Request, graph: Path) -> Converted:
    """Convert what `torch.export` has made: it says itself what it takes, and which axes are dynamic."""
    program = torch.export.load(request.where)
    takes, gives = (len(names) for names in (program.graph_signature.user_inputs, program.graph_signature.user_outputs))
    names = {"input_names": [INPUT]} if takes == 1 else {}
    names |= {"output_names": ["output"]} if gives == 1 else {}
    torch.onnx.export(program, (), str(graph), **names, external_data=False, verbose=False)
    return Converted(_releases("torch", "onnxscript"), [*request.columns])


def _saved_model(request: Request, graph: Path) -> Converted:
    importlib.import_module("tensorflow")
    sys.argv = ["tf2onnx", "--saved-model", request.where, "--output", str(graph)]
    runpy.run_module("tf2onnx.convert", run_name="__main__")
    return Converted(_releases("tensorflow", "tf2onnx"))


def _written(
    made: Any, graph: Path, packages: Sequence[str], names: Sequence[Any] = (), notes: Sequence[str] = ()
) -> Converted:
    graph.write_bytes(made.SerializeToString())
    return Converted(_releases(*packages), [*map(str, names)], [*notes])


def _releases(*packages: str) -> str:
    """Return what was at work, with releases: `lightgbm 4.7.0, onnxmltools 1.16.0`."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:  # installed by another name, as xgboost-cpu
            found.append(f"{package} {getattr(sys.modules.get(package), '__version__', '')}".strip())
    return ", ".join(found)


_CONVERSIONS: Mapping[Kind, Callable[[Request, Path], Converted]] = {
    Kind.LIGHTGBM: _lightgbm,
    Kind.XGBOOST: _xgboost,
    Kind.SKLEARN: _sklearn,
    Kind.SKOPS: _skops,
    Kind.TORCH: _torch,
    Kind.SAVED_MODEL: _saved_model,
}
