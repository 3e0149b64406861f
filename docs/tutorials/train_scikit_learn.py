"""Train a classifier of customers who leave, and export it: python docs/tutorials/train_scikit_learn.py OUT.onnx [C]"""

# needs: sklearn skl2onnx pandas

import sys

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

out, c = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 1.0

# Made up: the young, on the basic plan, leave in their first months.
random = np.random.default_rng(7)
rows = 2000
data = pd.DataFrame(
    {
        "age": random.integers(18, 80, rows).astype(np.float32),
        "months": random.integers(0, 48, rows).astype(np.float32),
        "plan": random.choice(["basic", "family", "premium"], rows),
    }
)
risk = 1.5 - 0.03 * data.age - 0.06 * data.months + 1.2 * (data.plan == "basic")
leaves = (random.random(rows) < 1 / (1 + np.exp(-risk))).astype(np.int64)

# A plan that it was not trained with is no plan, and no error.
columns = make_column_transformer(
    (StandardScaler(), ["age", "months"]), (OneHotEncoder(handle_unknown="ignore"), ["plan"])
)
model = make_pipeline(columns, LogisticRegression(C=c)).fit(data[:1500], leaves[:1500])
print(f"accuracy {model.score(data[1500:], leaves[1500:]):.3f} on 500 rows that were held out")

# An input for each column, so that callers give features by name. Without zipmap=False, the probabilities would be a
# sequence of maps, which no tensor can hold.
inputs = [
    ("age", FloatTensorType([None, 1])),
    ("months", FloatTensorType([None, 1])),
    ("plan", StringTensorType([None, 1])),
]
onnx = to_onnx(model, initial_types=inputs, options={"zipmap": False}, target_opset=21)
with open(out, "wb") as file:
    file.write(onnx.SerializeToString())
