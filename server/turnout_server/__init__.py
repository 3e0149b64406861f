"""Turnout's gateway: serves ONNX models over gRPC and splits each route's traffic over their versions."""
