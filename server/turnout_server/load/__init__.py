"""The load generator under `turnout bench`: sends a method the same requests over and over, and measures the answers.

    plan = Plan(target="127.0.0.1:8001", requests=(body,), concurrency=8, seconds=3.0)
    result = await run(plan)
    print(result.throughput, result.latency.percentile(99.0))

Requests are opaque bytes, made beforehand: the generator shares its machine with the server more often than not, and
what it does a call is taken from the server. How calls travel is behind `Connection`.
"""

from turnout_server.load.answerer import Answerer
from turnout_server.load.connection import CallError, Connection, ask
from turnout_server.load.grpc_connection import GrpcConnection
from turnout_server.load.histogram import Bucket, Histogram
from turnout_server.load.plan import Plan
from turnout_server.load.result import Progress, Result
from turnout_server.load.run import run

__all__ = [
    "Answerer",
    "Bucket",
    "CallError",
    "Connection",
    "GrpcConnection",
    "Histogram",
    "Plan",
    "Progress",
    "Result",
    "ask",
    "run",
]
