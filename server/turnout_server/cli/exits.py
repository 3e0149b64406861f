"""Exit codes: those of BSD's sysexits.h, where one fits."""

from __future__ import annotations

from turnout_server.vocabulary.errors import ConfigurationError, Kind, TurnoutError

OK = 0
FAILED = 1
"""What was to be checked is not in order: a digest, a health, the doctor's findings."""
USAGE = 2
NO_VERDICT = 3
"""An experiment's data leave it open."""
NOT_BELIEVED = 4
"""An experiment's data cannot be believed."""
INVALID = 65
NOT_FOUND = 66
UNAVAILABLE = 69
INTERNAL = 70
CONFLICT = 75
FORBIDDEN = 77
CONFIGURATION = 78
INTERRUPTED = 130
BROKEN_PIPE = 141

_BY_KIND = {
    Kind.INVALID: INVALID,
    Kind.NOT_FOUND: NOT_FOUND,
    Kind.CONFLICT: CONFLICT,
    Kind.FORBIDDEN: FORBIDDEN,
    Kind.PRECONDITION: FORBIDDEN,
    Kind.INTERNAL: INTERNAL,
}

BY_CLIENT_ERROR = {
    "InvalidRequestError": INVALID,
    "NotFoundError": NOT_FOUND,
    "ConflictError": CONFLICT,
    "ForbiddenError": FORBIDDEN,
    "ServerError": INTERNAL,
}
"""By the class's name in the client package; what is missing here is `UNAVAILABLE`."""


class CommandError(Exception):
    """A command that ends with one line on stderr and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def code_of(error: TurnoutError) -> int:
    """Return the exit code for one of the library's errors."""
    if isinstance(error, ConfigurationError):
        return CONFIGURATION
    return _BY_KIND.get(error.kind, UNAVAILABLE)
