"""The gateway that is measured without a transport serves, and every step of it can be repeated."""

from __future__ import annotations

from benchmarks.hotpath import TRACING, measure, report


async def test_every_step_of_both_requests_is_measured() -> None:
    results = await measure(rounds=1, calls=2)
    assert [(result.request, result.tracing) for result in results] == [
        (request, mode) for mode in TRACING for request in ("one row of the MLP", "ranking 500 x 60")
    ]
    assert all(us > 0 for result in results for us in result.steps.values())
    assert report(results).count("step by step") == 2
