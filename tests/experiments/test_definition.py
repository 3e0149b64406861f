"""Which questions may not be asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.experiments.worlds import experiment
from turnout_server.experiments.definition import InvalidExperimentError, digest_of

METRICS = {
    "conversion": {"kind": "proportion", "outcome": "purchase"},
    "wait": {"kind": "quantile", "outcome": "wait", "quantile": 0.9},
}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"treatments": ["old"]}, r"\$\.treatments\[0\]: 'old' is the control too"),
        ({"treatments": ["new", "new"]}, r"\$\.treatments\[1\]: 'new' is an earlier treatment too"),
        ({"metrics": {}}, r"\$\.metrics: there are none"),
        ({"primary": "revenue"}, r"\$\.primary: no metric named 'revenue'; there are conversion"),
        ({"guardrails": ["conversion"]}, r"\$\.guardrails\[0\]: 'conversion' is primary already"),
        ({"metrics": METRICS}, r"\$\.metrics\.wait: is neither primary nor a guardrail nor secondary"),
        ({"metrics": METRICS, "guardrails": ["wait"]}, r"\$\.guardrails\[0\]: 'wait' is a quantile"),
        ({"method": "fixed"}, r"\$\.days: missing"),
        ({"weights": {"old": 1.0}}, r"\$\.weights: expected one for each arm: old, new"),
        ({"alpha": 0.5}, r"\$\.alpha"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidExperimentError, match=told):
        experiment(**fields)


def test_a_digest_is_of_what_is_said_and_not_of_how() -> None:
    one = experiment(metrics=METRICS, secondary=["wait"])
    other = experiment(metrics=dict(reversed(METRICS.items())), secondary=["wait"])
    assert digest_of(one) == digest_of(other)
    assert digest_of(one) != digest_of(experiment(metrics=METRICS, secondary=["wait"], alpha=0.01))


def test_a_metrics_window_is_its_own_or_the_experiments() -> None:
    own = METRICS["conversion"] | {"window": "12h"}
    assert experiment(metrics={"conversion": own}).window_s("conversion") == 43_200
    assert experiment().window_s("conversion") == 7 * 86_400
