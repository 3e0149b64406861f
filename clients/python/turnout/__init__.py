"""The Python client of Turnout, a gRPC model-serving gateway.

    with turnout.Client("127.0.0.1:8001") as client:
        ranking = client.rank("ranking", {"milk-1": {"price": 3.2}, "milk-2": {"price": 2.9}}, unit="customer-7")
        print(ranking.ids, ranking.served)

`Client` blocks and `AsyncClient` is awaited; otherwise they are the same. `turnout.v1` has the generated messages and
stubs, for those who want them bare.
"""

from __future__ import annotations

from turnout.aio import AsyncClient
from turnout.answers import (
    Candidate,
    Item,
    Model,
    Price,
    Prices,
    Ranking,
    Recommendations,
    Served,
    Tensor,
    Version,
)
from turnout.client import Client
from turnout.errors import (
    ConflictError,
    DeadlineError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    ServerError,
    TurnoutError,
    UnavailableError,
    UnsupportedError,
)
from turnout.inference import Inference
from turnout.outbox import OutcomeCounts
from turnout.route_table import (
    Assignment,
    Draws,
    Experiment,
    Layer,
    Mirror,
    Override,
    Rollout,
    Route,
    RouteTable,
    Target,
)
from turnout.settings import NO_DEADLINE

__all__ = [
    "NO_DEADLINE",
    "Assignment",
    "AsyncClient",
    "Candidate",
    "Client",
    "ConflictError",
    "DeadlineError",
    "Draws",
    "Experiment",
    "ForbiddenError",
    "Inference",
    "InvalidRequestError",
    "Item",
    "Layer",
    "Mirror",
    "Model",
    "NotFoundError",
    "OutcomeCounts",
    "OverloadedError",
    "Override",
    "Price",
    "Prices",
    "Ranking",
    "Recommendations",
    "Rollout",
    "Route",
    "RouteTable",
    "Served",
    "ServerError",
    "Target",
    "Tensor",
    "TurnoutError",
    "UnavailableError",
    "UnsupportedError",
    "Version",
]
