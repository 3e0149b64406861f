"""What is left out of texts and log lines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.cli import scrub

OVERRIDE = "$.routes.a.overrides[0].{}: Expected `object`; found (left out)"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("https://user:pa55@collector:4317/x", "https://(left out)@collector:4317/x"),
        ("Authorization: Bearer s3cret, next", "Authorization: Bearer (left out), next"),
        ("api_key=s3cret token='s3 cret'", "api_key=(left out) token=(left out)"),
        ("unit=customer-7 route=price", "unit=(left out) route=price"),
        ("'unit_id': \"customer-7\"", "'unit_id': (left out)"),
        (
            "$.routes.a.overrides[0].when.unit: Expected `array`, got `str`; found 'vip'",
            "$.routes.a.overrides[0].when.unit: Expected `array`, got `str`; found (left out)",
        ),
        (
            "$.routes.a.overrides[0].when.unit[3]: Expected `str`; found 7",
            "$.routes.a.overrides[0].when.unit[3]: Expected `str`; found (left out)",
        ),
        ("$.routes.a.overrides[0].when.header: Expected `object`; found 's3cr3t, a'", OVERRIDE.format("when.header")),
        ("$.routes.a.overrides[0].when: Expected `object`; found 'alice'", OVERRIDE.format("when")),
        ("$.routes.a.overrides[0].when.unit: Expected `array`", "$.routes.a.overrides[0].when.unit: Expected `array`"),
        ("units=['vip-1', 'vip-2'] unit: [alice, bob]", "units=(left out) unit: (left out)"),
        (
            "AWS_SECRET_ACCESS_KEY=abcd secret_access_key: abcd",
            "AWS_SECRET_ACCESS_KEY=(left out) secret_access_key: (left out)",
        ),
        ("('authorization', 'Bearer eyJ')", "('authorization', (left out))"),
        ("key='authorization', value='Bearer eyJ')", "key='authorization', value=(left out))"),
        ("it said Bearer eyJhbGciOi.x", "it said Bearer (left out)"),
        ("authorization: Token abcdef", "authorization: Token (left out)"),
        (
            "private_key=a access_key=b credentials=c pwd=d jwt=e",
            "private_key=(left out) access_key=(left out) credentials=(left out) pwd=(left out) jwt=(left out)",
        ),
        ("serve --password hunter2 --listen x", "serve --password (left out) --listen x"),
        ("GET /a?sig=abc&X-Amz-Signature=def&v=1", "GET /a?sig=(left out)&X-Amz-Signature=(left out)&v=1"),
        ("postgres://u:p@ss@host/db", "postgres://(left out)@host/db"),
        ("tokenizer: BertTokenizer of 30 tokens", "tokenizer: BertTokenizer of 30 tokens"),
        ("a key of the manifest: metrics", "a key of the manifest: metrics"),
        ("price version 2: opset 99 is not supported", "price version 2: opset 99 is not supported"),
        ("http://127.0.0.1:9464/metrics answers 404", "http://127.0.0.1:9464/metrics answers 404"),
    ],
)
def test_texts_lose_units_and_secrets_and_nothing_else(given: str, left: str) -> None:
    assert scrub.text(given) == left


def test_a_line_of_json_keeps_what_the_gateway_says() -> None:
    line = {"timestamp": "t", "event": "failed", "model": "price", "peer": "ipv4:10.0.0.7", "features": {"age": 30}}
    frames = [{"filename": "a.py", "lineno": 3, "name": "f", "locals": {"unit": "customer-7"}}]
    line["exception"] = [{"exc_type": "ValueError", "exc_value": "customer-7", "frames": frames}]  # type: ignore[assignment]
    (left,) = scrub.log([json.dumps(line)])
    assert json.loads(left) == {
        "timestamp": "t",
        "event": "failed",
        "model": "price",
        "peer": scrub.LEFT_OUT,
        "features": scrub.LEFT_OUT,
        "exception": [{"exc_type": "ValueError", "frames": [{"filename": "a.py", "lineno": 3, "name": "f"}]}],
    }


def test_other_lines_are_texts() -> None:
    assert scrub.log(["Fatal Python error: Segmentation fault", "[1]", "unit: u-1", '{"event": ["unit=u-2"]}']) == [
        "Fatal Python error: Segmentation fault",
        "[1]",
        "unit: (left out)",
        '{"event": ["unit=(left out)"]}',
    ]


@given(st.text())
def test_every_line_has_a_form(line: str) -> None:
    assert len(scrub.log([line])) == 1
