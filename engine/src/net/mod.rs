//! HTTP/2 and gRPC: shards, connections, calls, and what of them Python answers.
