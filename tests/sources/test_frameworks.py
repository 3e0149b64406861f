"""Converted models answer as their frameworks do. Libraries run in a child, as they do for a publisher."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from turnout_server.sources.conversation import Request
from turnout_server.sources.frameworks import convert
from turnout_server.sources.source import Kind

PROGRAM = """
import importlib, pickle, sys
from pathlib import Path
import lightgbm, numpy as np, pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from turnout_server.onnx.binding import open_session
from turnout_server.sources.conversation import Request
from turnout_server.sources.frameworks import convert
from turnout_server.sources.source import Kind, SourceError
from turnout_server.store.manifest import RuntimeOptions

out = Path(sys.argv[1])
random = np.random.default_rng(0)
table = pd.DataFrame({"age": random.integers(18, 80, 200), "city": random.choice(["Berlin", "Rome"], 200)})
answers = ((table.age > 40) & (table.city == "Rome")).astype(int)
numbers = table[["age"]].assign(income=random.random(200))

def run(kind, file, columns, **inputs):
    made = convert(Request(kind, str(file), str(out), True, columns), out / "model.onnx")
    session = open_session(out / "model.onnx", RuntimeOptions())
    return made, session.run([one.name for one in session.get_outputs()], inputs)

data = lightgbm.Dataset(numbers, answers)
booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 5)
booster.save_model(out / "model.txt")
matrix = numbers.to_numpy(np.float32)
made, (_, chances) = run(Kind.LIGHTGBM, out / "model.txt", {}, features=matrix)
assert made.columns == ["age", "income"], made
assert np.allclose(chances[:, 1], booster.predict(matrix), atol=1e-5)

prepared = ColumnTransformer([("age", StandardScaler(), ["age"]), ("city", OneHotEncoder(), ["city"])])
pipeline = make_pipeline(prepared, LogisticRegression()).fit(table, answers)
(out / "pipeline.pkl").write_bytes(pickle.dumps(pipeline))
columns = {"age": "INT64", "city": "BYTES"}
ages, cities = table[["age"]].to_numpy(), table[["city"]].to_numpy(object)
made, (_, chances) = run(Kind.SKLEARN, out / "pipeline.pkl", columns, age=ages, city=cities)
assert made.columns == []
assert np.allclose(chances, pipeline.predict_proba(table), atol=1e-5)
try:
    run(Kind.SKLEARN, out / "pipeline.pkl", {})
except SourceError as error:
    assert "(age, city); --sample FILE" in error.message, error
else:
    raise AssertionError("columns of no type were taken")
"""


def test_converted_models_answer_as_their_frameworks_do(tmp_path: Path) -> None:
    for module in ("lightgbm", "onnxmltools", "skl2onnx", "pandas"):
        pytest.importorskip(module)
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path)), "ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


class _Exports:
    """Plays PyTorch, which tests don't have: notes what is exported."""

    def __init__(self, takes: int) -> None:
        self.export = self.onnx = self  # the three modules that are used
        self.graph_signature = SimpleNamespace(user_inputs=["x"] * takes, user_outputs=["y"])
        self.exported: list[tuple[Any, Any, str]] = []
        self.names: dict[str, Any] = {}

    def load(self, _: str) -> _Exports:
        return self

    def __call__(self, program: Any, example: Any, file: str, **names: Any) -> None:
        self.exported.append((program, example, file))
        self.names = names


@pytest.mark.parametrize(("takes", "named"), [(1, {"input_names": ["features"]}), (2, {})])
def test_a_program_of_torch_export_says_itself_what_it_takes(
    takes: int, named: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried with PyTorch 2.15 by hand, without a sample and without `eval`, which such a program does not have."""
    torch: Any = _Exports(takes)
    monkeypatch.setitem(sys.modules, "torch", torch)
    convert(Request(Kind.TORCH, "net.pt2", str(tmp_path), True, {}), tmp_path / "model.onnx")
    assert torch.exported == [(torch, (), str(tmp_path / "model.onnx"))]
    assert torch.names == {**named, "output_names": ["output"], "external_data": False, "verbose": False}
