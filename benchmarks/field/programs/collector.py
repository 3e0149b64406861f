"""Takes spans by OTLP over gRPC and throws them away. After each export it prints how many bytes have come in all.

python collector.py PORT
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


def main(port: int) -> None:
    """Serve until the process ends."""
    come = 0

    def export(request: bytes, _: Any) -> bytes:
        nonlocal come
        come += len(request)
        print(come, flush=True)
        return b""  # an answer without a complaint

    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.max_receive_message_length", -1)])
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(int(sys.argv[1]))
