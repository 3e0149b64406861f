"""What turns each kind of source into an ONNX file: the library, and the lines of Python that do it by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from turnout_server.sources.source import Kind


class Recipe(NamedTuple):
    """How to make an ONNX file."""

    packages: tuple[str, ...]
    """What has to be installed, by the names that pip knows."""
    lines: tuple[str, ...]
    """What makes it, in Python or for a shell."""
    modules: tuple[str, ...] = ()
    """What is imported to do it here; empty where it is not done here."""


RECIPES: Mapping[Kind, Recipe] = {
    Kind.LIGHTGBM: Recipe(
        ("lightgbm", "onnxmltools"),
        (
            "import lightgbm, onnxmltools; from onnxmltools.convert.common.data_types import FloatTensorType",
            "booster = lightgbm.Booster(model_file='model.txt'); shape = [None, booster.num_feature()]",
            "onnxmltools.utils.save_model(onnxmltools.convert_lightgbm(booster, initial_types=[('features', "
            "FloatTensorType(shape))], zipmap=False), 'model.onnx')",
        ),
        ("lightgbm", "onnxmltools"),
    ),
    Kind.XGBOOST: Recipe(
        ("xgboost", "onnxmltools"),
        (
            "import xgboost, onnxmltools; from onnxmltools.convert.common.data_types import FloatTensorType",
            "booster = xgboost.Booster(model_file='model.json'); booster.feature_names = None",
            "onnxmltools.utils.save_model(onnxmltools.convert_xgboost(booster, initial_types=[('features', "
            "FloatTensorType([None, booster.num_features()]))]), 'model.onnx')",
        ),
        ("xgboost", "onnxmltools"),
    ),
    Kind.SKLEARN: Recipe(
        ("scikit-learn", "skl2onnx"),
        (
            "from skl2onnx import to_onnx  # `model` as trained, `X` some rows of what it was trained on",
            "graph = to_onnx(model, X[:1], options={'zipmap': False})  # no options for a regressor",
            "open('model.onnx', 'wb').write(graph.SerializeToString())",
        ),
        ("sklearn", "skl2onnx"),
    ),
    Kind.SKOPS: Recipe(
        ("skops", "scikit-learn", "skl2onnx"),
        (
            "import skops.io; from skl2onnx import to_onnx; model = skops.io.load('model.skops')",
            "graph = to_onnx(model, X[:1], options={'zipmap': False})  # no options for a regressor",
            "open('model.onnx', 'wb').write(graph.SerializeToString())",
        ),
        ("skops", "sklearn", "skl2onnx"),
    ),
    Kind.TORCH: Recipe(
        ("torch", "onnx", "onnxscript"),
        (
            "import torch  # `model` with its weights, `x` an input of two rows",
            "rows = torch.export.Dim('rows')",
            "torch.onnx.export(model.eval(), (x,), 'model.onnx', dynamic_shapes=({0: rows},), dynamo=True)",
        ),
        ("torch", "onnxscript"),
    ),
    Kind.SAVED_MODEL: Recipe(
        ("tensorflow", "tf2onnx"),
        ("python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",),
        ("tensorflow", "tf2onnx"),
    ),
    Kind.KERAS: Recipe(
        ("tensorflow", "tf2onnx"),
        (
            "import keras; model = keras.saving.load_model('model.keras')",
            "model.export('saved_model')  # a TensorFlow SavedModel",
            "# then: turnout publish saved_model, or python -m tf2onnx.convert --saved-model saved_model",
        ),
    ),
    Kind.TRANSFORMERS: Recipe(
        ("optimum[onnxruntime]",),
        ("optimum-cli export onnx --model FOLDER out  # out/model.onnx takes tokens, not texts",),
    ),
    Kind.CATBOOST: Recipe(
        ("catboost",),
        (
            "from catboost import CatBoost",
            "model = CatBoost().load_model('model.cbm')",
            "model.save_model('model.onnx', format='onnx')",
        ),
    ),
    Kind.MLFLOW: Recipe(
        ("mlflow-skinny",),
        ("import mlflow; print(mlflow.artifacts.download_artifacts('models:/NAME@ALIAS'))",),
        ("mlflow",),
    ),
}


def advice(kind: Kind) -> tuple[str, ...]:
    """Return how to do by hand what is not done here: what to install, and what to run."""
    recipe = RECIPES[kind]
    packages = [f"'{package}'" if "[" in package else package for package in recipe.packages]
    return (f"pip install {' '.join(packages)}", *recipe.lines)
