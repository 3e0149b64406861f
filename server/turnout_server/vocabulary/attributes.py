"""What spans and metrics call things, in OpenTelemetry's dotted names: the same word for the same thing in both."""

from __future__ import annotations

from typing import Final

ROUTE: Final = "turnout.route"
TARGET: Final = "turnout.target"
ASSIGNED: Final = "turnout.assigned_target"
EXPERIMENT: Final = "turnout.experiment"
REASON: Final = "turnout.reason"
MODEL: Final = "turnout.model.name"
VERSION: Final = "turnout.model.version"
STATE: Final = "turnout.model.state"
REQUEST_ID: Final = "turnout.request.id"
ROWS: Final = "turnout.batch.rows"
CODE: Final = "turnout.code"
OUTCOME: Final = "turnout.outcome"
FEATURE: Final = "turnout.feature"
TASK: Final = "turnout.task"
CAUSE: Final = "turnout.cause"
FATE: Final = "turnout.fate"
DIGEST: Final = "turnout.digest"
REVISION: Final = "turnout.revision"
EPOCH: Final = "turnout.epoch"
ERROR_REASON: Final = "turnout.error.reason"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS: Final = "rpc.response.status_code"
RPC_SYSTEM: Final = "rpc.system.name"
