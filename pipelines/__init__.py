"""Train, evaluate, export to ONNX, verify, publish: one module a model."""

import os

# ONNX Runtime reports usage to its vendor unless this is set before its first import, whoever's that is.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
