"""What carries calls to methods: our own HTTP/2 with gRPC on it, or grpcio."""
