"""Who answered: read from a sample of the answers, as to decode each would cost the generator too much."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import NamedTuple

from google.protobuf.message import DecodeError

from turnout_server.load.histogram import Histogram
from turnout_server.load.plan import MODEL_INFER
from turnout_server.load.stubs import pb

SAMPLES_PER_S = 200.0
"""About how many answers a second are decoded."""


class Answerer(NamedTuple):
    """Which target and version answered; what the server did not say is empty."""

    target: str
    model: str
    version: str


def read(answer: bytes) -> Answerer | None:
    """Return who gave a serialised ModelInferResponse; None if it is no such message."""
    try:
        response = pb.ModelInferResponse.FromString(answer)
    except DecodeError:
        return None
    said = response.parameters
    target = said["turnout_target"].string_param if "turnout_target" in said else ""
    return Answerer(target, response.model_name, response.model_version)


class Sample:
    """Decodes every answer while there are few, and picks `SAMPLES_PER_S` at random when there are many.

    Gaps between the picked are counted in answers, not time: an answer that comes after a long silence would be picked
    too often by a clock, and fixed gaps would fall in step with the requests, which repeat.
    """

    __slots__ = ("_gap", "_random", "_reads", "_skip", "latencies", "served")

    def __init__(self, method: str, seed: int = 0) -> None:
        self._reads = method == MODEL_INFER
        self._random = Random(seed)
        self._gap = 1.0
        self._skip = 0
        self.served: Counter[Answerer] = Counter()
        """How many of the sample each has answered."""
        self.latencies: dict[Answerer, Histogram] = {}
        """How long those took."""

    def adapt(self, throughput: float) -> None:
        """Take up how many answers a second there are now."""
        self._gap = max(1.0, throughput / SAMPLES_PER_S)

    def offer(self, answer: bytes, took_s: float) -> None:
        """Decode *answer*, which took so many seconds, if it is its turn."""
        self._skip -= 1
        if self._skip >= 0:
            return
        # Uniform on 0 to twice the mean, so that the mean is gap - 1 answers skipped for each one read.
        self._skip = round(self._random.random() * 2.0 * (self._gap - 1.0))
        if self._reads and (answerer := read(answer)) is not None:
            self.served[answerer] += 1
            latency = self.latencies.get(answerer)
            if latency is None:
                latency = self.latencies[answerer] = Histogram()
            latency.record(took_s)
