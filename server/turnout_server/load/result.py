"""What a run found, at its end and along the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from turnout_server.load.answerer import Answerer
from turnout_server.load.histogram import Histogram

SATURATED = 0.9
"""The share of a core from which on the generator's own speed may be what was measured."""
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A look at a run under way."""

    elapsed_s: float
    """Since the first request."""
    warming_up: bool
    throughput: float
    """OK answers a second since the last look."""
    recent: Histogram
    """Latency since the last look; empty in the warm-up."""
    latency: Histogram
    """Latency so far, without the warm-up."""
    codes: Counter[str]
    """As in `Result`, so far."""
    served: Counter[Answerer]
    """As in `Result`, so far."""

    @property
    def failed(self) -> int:
        """Calls that ended with another code than OK."""
        return self.codes.total() - self.codes["OK"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run found. The warm-up is in `calls` and nowhere else."""

    seconds: float
    """How long was measured."""
    within: int
    """OK answers that came in that time."""
    latency: Histogram
    """Of OK answers to calls sent in that time, however late they came; from when they were due, in an open loop."""
    codes: Counter[str]
    """Calls sent in that time, by the name of the gRPC status code that they ended with."""
    messages: Mapping[str, str]
    """One message for each code other than OK."""
    unanswered: int
    """Calls that had not ended when the run stopped waiting, or were due and could not be sent."""
    served: Counter[Answerer]
    """Who answered, in a sample: every answer at up to `SAMPLES_PER_S`, or so, and at random above."""
    latencies: Mapping[Answerer, Histogram] = field(default_factory=dict)
    """As `latency`, of each of those in the sample."""
    calls: int
    """Calls that ended, those of the warm-up included."""
    cpu_s: float
    """CPU that this process used while measuring, in seconds."""
    stopped_early: bool
    """Whether somebody stopped it before its time."""

    @property
    def throughput(self) -> float:
        """OK answers a second."""
        return self.within / self.seconds if self.seconds > 0 else 0.0

    @property
    def answers(self) -> int:
        """Calls that ended, with whatever code."""
        return self.codes.total()

    @property
    def failed(self) -> int:
        """Calls that ended with another code than OK, or not at all."""
        return self.answers - self.codes["OK"] + self.unanswered

    @property
    def cpu_share(self) -> float:
        """CPU used, in cores."""
        return self.cpu_s / self.seconds if self.seconds > 0 else 0.0

    @property
    def generator_bound(self) -> bool:
        """Whether the generator had no time left: a quicker one might have found more."""
        return self.cpu_share > SATURATED

    def summary(self) -> dict[str, Any]:
        """Return it as plain values for JSON; latencies in milliseconds, NaN where nothing was answered."""
        return {
            "seconds": self.seconds,
            "throughput": self.throughput,
            "answers": self.answers,
            "failed": self.failed,
            "unanswered": self.unanswered,
            "calls": self.calls,
            "latency_ms": _in_ms(self.latency),
            "codes": dict(self.codes),
            "messages": dict(self.messages),
            "served": [
                {**one._asdict(), "sampled": count, "latency_ms": _in_ms(self.latencies.get(one) or Histogram())}
                for one, count in self.served.most_common()
            ],
            "histogram": [
                {"from_ms": bucket.low * 1e3, "to_ms": bucket.high * 1e3, "count": bucket.count}
                for bucket in self.latency.buckets()
            ],
            "generator_cpu": self.cpu_share,
            "generator_bound": self.generator_bound,
            "stopped_early": self.stopped_early,
        }


def _in_ms(latency: Histogram) -> dict[str, float]:
    found = {f"p{percent:g}": latency.percentile(percent) * 1e3 for percent in PERCENTILES}
    return found | {"mean": latency.mean * 1e3, "max": latency.percentile(100.0) * 1e3}
