"""The versioned model store: knows no gRPC and no ONNX Runtime."""
