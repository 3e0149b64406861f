"""Train, evaluate, export to ONNX, verify, publish: one module a model."""
