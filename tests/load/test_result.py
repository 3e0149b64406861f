from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from turnout_server.load import Answerer, Histogram, Result


def result(**more: Any) -> Result:
    latency = Histogram()
    for _ in range(90):
        latency.record(0.002)
    fields: dict[str, Any] = {
        "seconds": 2.0,
        "within": 80,
        "latency": latency,
        "codes": Counter({"OK": 90, "INTERNAL": 5}),
        "messages": {"INTERNAL": "broken"},
        "unanswered": 1,
        "served": Counter({Answerer("canary", "price", "2"): 9}),
        "calls": 120,
        "cpu_s": 0.5,
        "stopped_early": False,
    }
    return Result(**(fields | more))


def test_throughput_is_of_ok_answers() -> None:
    assert (result().throughput, result().answers, result().failed) == (40.0, 95, 6)


@pytest.mark.parametrize(("cpu_s", "bound"), [(1.7, False), (1.9, True), (3.0, True)])
def test_a_generator_that_has_no_time_left_says_so(cpu_s: float, bound: bool) -> None:
    assert result(cpu_s=cpu_s).generator_bound is bound


def test_a_summary_is_json_in_milliseconds() -> None:
    found = msgspec.json.decode(msgspec.json.encode(result().summary()))
    assert (found["throughput"], found["codes"]) == (40.0, {"OK": 90, "INTERNAL": 5})
    assert found["latency_ms"]["p99"] == pytest.approx(2.0, rel=0.01)
    (served,) = found["served"]
    assert served.pop("latency_ms").keys() == found["latency_ms"].keys()
    assert served == {"target": "canary", "model": "price", "version": "2", "sampled": 9}
    assert sum(bucket["count"] for bucket in found["histogram"]) == 90


def test_a_summary_of_nothing_has_no_latency() -> None:
    found = msgspec.json.decode(msgspec.json.encode(result(latency=Histogram(), seconds=0.0).summary()))
    assert (found["throughput"], found["latency_ms"]["p50"], found["latency_ms"]["max"]) == (0.0, None, None)
