"""The end of one request."""

from __future__ import annotations

from typing import NamedTuple


class Timing(NamedTuple):
    """Where one request's time went, in nanoseconds on the clock of `time.monotonic_ns`."""

    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    rows: int
    """Rows in the batch that the request ran in; 0 when it did not run."""
    started_ns: int
    """When the run began; 0 when it did not."""
