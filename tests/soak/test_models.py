"""What NumPy says a model should answer is what ONNX Runtime answers."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import onnxruntime as ort
import pytest

from tests.soak.judge import same
from tests.soak.models import MODELS, Model


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
@pytest.mark.parametrize("version", [1, 2, 37])
def test_the_oracle_agrees_with_onnx_runtime(model: Model, version: int, tmp_path: Path) -> None:
    file = model.draft(version, tmp_path).files["model.onnx"]
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    random = Random(version)
    for _ in range(30):
        given = model.draw(random)
        expected = model.answer(version, given)
        for name, found in zip(expected, session.run(list(expected), given), strict=True):
            assert found.dtype == expected[name].dtype
            assert same(found, expected[name])


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_another_version_answers_otherwise(model: Model) -> None:
    random = Random(1)
    differ = 0
    for _ in range(50):
        given = model.draw(random)
        one, other = model.answer(3, given), model.answer(4, given)
        differ += any(not same(one[name], other[name]) for name in one if np.size(one[name]))
    assert differ > 20
