# ---------------------------------------------------------------- twins, for the tests that hold them against Python's

def uniform(salt: str, target: str, unit: str) -> float:
    """Return `routing.split.uniform` of the same."""

def score(salt: str, target: str, unit: str, weight: float) -> float:
    """Return a target's score for a unit, of which the lowest of a route's wins: `-log(uniform) / weight`."""

def decide(
    snapshot: bytes, name: str, version: str, unit: str, headers: dict[str, str], draw: float
) -> tuple[str, str, str, int, str, str, int, float | None, str, str, bool] | None:
    """Return who answers by a snapshot from `turnout_server.engine.snapshot.names`, or None: Python has to say.

    Returns:
        Route, target, model, version, reason, assigned target, override or -1, propensity, table digest, epoch, and
        whether the route has mirrors.

    Raises:
        ValueError: the snapshot cannot be read.
    """

def parse_infer(
    message: bytes, metadata: dict[str, str], signature: bytes
) -> tuple[str, str, str, str, str, int | None, int, list[tuple[str, list[int], bytes]], int, int, list[str]] | None:
    """Read a `ModelInferRequest` for a signature from `turnout_server.engine.snapshot.signature`, or None.

    Returns:
        Name, version, unit, the request's own id, the request id, timeout in microseconds, the priority's level, inputs
        in the signature's order (dtype, shape, bytes), rows, size, and the outputs wanted.

    Raises:
        ValueError: the signature cannot be read.
    """

def encode_infer(
    decision: tuple[str, str, str, int, str, str, float | None],
    id: str,
    request_id: str,
    outputs: list[tuple[str, str, list[int], bytes]],
) -> bytes:
    """Write a `ModelInferResponse` with raw outputs: name, dtype, shape, bytes.

    Args:
        decision: route, target, model, version, reason, assigned target, propensity.
        id: the request's own.
        request_id: the one in our records.
        outputs: numbers only.

    Raises:
        ValueError: a reason or a dtype is unknown, or there are more bytes than protobuf can carry.
    """
