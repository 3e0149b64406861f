from __future__ import annotations

import math
from typing import Any

import pytest

from turnout_server.load import Plan


def test_a_plan_needs_a_target_and_a_request() -> None:
    plan = Plan(target="127.0.0.1:1", requests=(b"",))
    assert (plan.rate, plan.method) == (None, "/inference.GRPCInferenceService/ModelInfer")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target", ""),
        ("requests", ()),
        ("method", "ModelInfer"),
        ("concurrency", 0),
        ("connections", 0),
        ("rate", 0.0),
        ("rate", math.inf),
        ("seconds", 0.0),
        ("seconds", math.nan),
        ("warmup_s", -1.0),
        ("warmup_s", math.inf),
        ("timeout_s", 0.0),
        ("drain_s", -1.0),
    ],
)
def test_a_value_out_of_its_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected .*, found"):
        Plan(**({"target": "127.0.0.1:1", "requests": (b"",)} | {name: value}))
