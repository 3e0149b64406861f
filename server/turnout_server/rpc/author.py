"""Who changes something by a call, as the store's audit is to say it."""

from __future__ import annotations

import platform

from turnout_server.store.audit import By
from turnout_server.transport.call import Call


def author(call: Call, method: str) -> By:
    """Return who makes *call*, a call of *method*: its principal, or where it comes from if nobody has said who it is.

    The gateway's own host is named, too: it is what has the log.
    """
    return By(call.principal or f"unnamed, from {call.address}", f"{method} at {platform.node()}")
