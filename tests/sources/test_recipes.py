"""Every kind that is no ONNX file has its recipe: what to install, and at most three lines."""

from __future__ import annotations

from turnout_server.sources.frameworks import _CONVERSIONS
from turnout_server.sources.recipes import RECIPES, advice
from turnout_server.sources.source import Kind


def test_every_kind_has_a_recipe_of_three_lines_at_most() -> None:
    assert RECIPES.keys() == set(Kind) - {Kind.ONNX, Kind.MLMODEL}
    assert all(1 <= len(recipe.lines) <= 3 for recipe in RECIPES.values())


def test_what_is_converted_here_is_what_has_modules() -> None:
    assert {kind for kind, recipe in RECIPES.items() if recipe.modules} == {*_CONVERSIONS, Kind.MLFLOW}


def test_advice_begins_with_what_to_install_as_a_shell_takes_it() -> None:
    assert advice(Kind.TRANSFORMERS)[0] == "pip install 'optimum[onnxruntime]'"
    assert advice(Kind.LIGHTGBM)[0] == "pip install lightgbm onnxmltools"


def test_the_lines_are_python() -> None:
    for kind in (Kind.LIGHTGBM, Kind.XGBOOST, Kind.SKLEARN, Kind.SKOPS, Kind.TORCH, Kind.KERAS, Kind.CATBOOST):
        compile("\n".join(RECIPES[kind].lines), kind.name, "exec")
