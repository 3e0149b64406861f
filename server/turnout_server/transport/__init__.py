"""What carries calls to methods: the engine, or grpcio."""
