"""Train a regressor of a disease's progression: python docs/tutorials/train_lightgbm.py OUT.onnx [xgboost]"""

# needs: sklearn onnxmltools skl2onnx lightgbm

import sys

from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.datasets import load_diabetes
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split

out, library = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "lightgbm"

x, y = load_diabetes(return_X_y=True, scaled=False)
x_train, x_test, y_train, y_test = train_test_split(x.astype("float32"), y, random_state=7)
inputs = [("features", FloatTensorType([None, x.shape[1]]))]

if library == "lightgbm":
    from lightgbm import LGBMRegressor

    model = LGBMRegressor(n_estimators=60, num_leaves=7, learning_rate=0.05, verbose=-1).fit(x_train, y_train)
    onnx = convert_lightgbm(model, initial_types=inputs, target_opset=15)
else:
    from xgboost import XGBRegressor

    model = XGBRegressor(n_estimators=60, max_depth=3, learning_rate=0.1).fit(x_train, y_train)
    onnx = convert_xgboost(model, initial_types=inputs, target_opset=15)

print(f"RMSE {root_mean_squared_error(y_test, model.predict(x_test)):.1f} on {len(y_test)} rows that were held out")
with open(out, "wb") as file:
    file.write(onnx.SerializeToString())
