"""ONNX Runtime, and nothing of it beyond this package."""

import os

# ONNX Runtime reports usage to its vendor unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
