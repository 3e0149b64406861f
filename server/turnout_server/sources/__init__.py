"""What people have, and how it becomes an ONNX file: recognised here, converted by libraries in a child process."""
