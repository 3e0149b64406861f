"""What happened to requests and batches, counted exactly, in plain integers: cheap to add to, read when collected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from turnout_server.instruments.families import Counted
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.record import OK, Record

EXACT_ROWS = 128
"""Callers choose how many rows they send, and must not be able to fill the memory with counts."""


class Alike(NamedTuple):
    """Requests of one decision that ended with one code. Durations are in nanoseconds, in all."""

    decision: Decision
    code: str
    took: Counted
    queue: Counted
    """How long those waited that ran."""
    rows: int
    """Rows that they brought."""
    last_ns: int
    """When the last of them ended, in nanoseconds since the epoch."""
    queue_ns: int
    """Of those that were answered; so are the other three."""
    input_ns: int
    infer_ns: int
    output_ns: int


class RunsAlike(NamedTuple):
    """Runs of one version's graph with so many rows. Durations are in nanoseconds, in all."""

    rows: int
    size: int
    """What their run time grows with."""
    failed: bool
    """Whether they gave nothing."""
    infer: Counted
    best_ns: int
    """Of the shortest."""
    input_ns: int
    output_ns: int


@dataclass(slots=True)
class Duration:
    """How often something took place, and how long it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Count one more that took *ns* nanoseconds, or as many as *count* that took so long together."""
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class BatchStatistics:
    """The batches of one size."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


@dataclass(slots=True)
class VersionStatistics:
    """One version's counts, in the terms of the Open Inference Protocol's statistics extension."""

    last_inference_ms: int = 0
    """When the last request was answered: milliseconds since the epoch; 0 for never."""
    inference_count: int = 0
    """Rows answered."""
    execution_count: int = 0
    """Runs of the graph."""
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    batches: dict[int, BatchStatistics] = field(default_factory=dict)
    """By batch size in rows; sizes above `EXACT_ROWS` are rounded down to a power of two."""

    def ended(self, record: Record) -> None:
        """Count a request's end; copies are no requests, and are not to be given here."""
        if record.code != OK:
            self.fail.add(record.took_ns)
            return
        self.success.add(record.took_ns)
        self.last_inference_ms = (record.arrived_ns + record.took_ns) // 1_000_000
        self.inference_count += record.rows
        timing = record.timing
        if timing is not None:
            self.queue.add(timing.queue_ns)
            self.compute_input.add(timing.compute_input_ns)
            self.compute_infer.add(timing.compute_infer_ns)
            self.compute_output.add(timing.compute_output_ns)

    def include(self, requests: Alike) -> None:
        """Count the ends of requests that were counted elsewhere."""
        count = requests.took.observations
        if requests.code != OK:
            self.fail.add(requests.took.total, count)
            return
        self.success.add(requests.took.total, count)
        self.last_inference_ms = max(self.last_inference_ms, requests.last_ns // 1_000_000)
        self.inference_count += requests.rows
        self.queue.add(requests.queue_ns, count)
        self.compute_input.add(requests.input_ns, count)
        self.compute_infer.add(requests.infer_ns, count)
        self.compute_output.add(requests.output_ns, count)

    def include_runs(self, runs: RunsAlike) -> None:
        """Count runs of the graph that were counted elsewhere, and gave something."""
        count = runs.infer.observations
        self.execution_count += count
        of_size = self.of_batches(runs.rows)
        of_size.compute_input.add(runs.input_ns, count)
        of_size.compute_infer.add(runs.infer.total, count)
        of_size.compute_output.add(runs.output_ns, count)

    def of_batches(self, rows: int) -> BatchStatistics:
        """Return the counts of the batches of *rows* rows."""
        size = rows if rows <= EXACT_ROWS else 1 << (rows.bit_length() - 1)
        found = self.batches.get(size)
        if found is None:
            found = self.batches[size] = BatchStatistics()
        return found
