"""One call as it goes to every plane."""

from __future__ import annotations

from typing import NamedTuple

INFER = "inference.GRPCInferenceService/ModelInfer"
STREAM = "inference.GRPCInferenceService/ModelStreamInfer"
ANY = "turnout.v1.InferenceService/Infer"
TYPED = (
    ANY,
    "turnout.v1.RankingService/Rank",
    "turnout.v1.PricingService/PredictPrice",
    "turnout.v1.RecommendationService/Recommend",
)


class Call(NamedTuple):
    """One call: bytes, so that it may be one that no stub would send."""

    method: str
    """`package.Service/Method`."""
    messages: tuple[bytes, ...]
    """One, or for a stream any number."""
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    gzip: bool = False
    about: str = ""
    """What was done to it that is out of the ordinary."""

    @property
    def request_id(self) -> str:
        """What its metadata calls it; each call has a name of its own."""
        return next(str(value) for key, value in self.metadata if key == "x-request-id")
