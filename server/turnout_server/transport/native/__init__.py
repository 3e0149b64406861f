"""gRPC over our own HTTP/2, as gRPC's protocol document "gRPC over HTTP2" has it."""
