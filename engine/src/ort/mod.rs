//! ONNX Runtime's C API. The one place with `unsafe` in it.
