"""The wire: gRPC services over the data plane and the catalogue."""
