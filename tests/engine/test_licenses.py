"""The licences of the engine's crates."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.licenses import allowed, parse, problems, render

ENGINE = Path(__file__).resolve().parents[2] / "engine"
LOCK = """
[[package]]
name = "turnout-engine"
version = "0.1.0"

[[package]]
name = "tokio"
version = "1.54.1"
"""
PAGE = render({("tokio", "1.54.1"): "MIT"})


def test_the_table_is_up_to_date() -> None:
    lock, page = ((ENGINE / name).read_text(encoding="utf-8") for name in ("Cargo.lock", "LICENSES.md"))
    assert problems(lock, page) == []


def test_a_page_is_read_as_it_was_written() -> None:
    assert parse(PAGE) == {("tokio", "1.54.1"): "MIT"}
    assert problems(LOCK, PAGE) == []


@pytest.mark.parametrize(
    ("lock", "page", "problem"),
    [
        (LOCK.replace("1.54.1", "1.55.0"), PAGE, "tokio 1.55.0 is not in it"),
        (LOCK, PAGE + "| h2 | 0.4.20 | MIT |\n", "h2 0.4.20 is no longer in Cargo.lock"),
        (LOCK, PAGE.replace("MIT", "GPL-3.0-only"), "tokio 1.54.1: GPL-3.0-only"),
        (LOCK, PAGE + "\nand so on\n", "it was edited by hand"),
    ],
)
def test_what_is_wrong_with_a_page_is_named(lock: str, page: str, problem: str) -> None:
    assert problem in problems(lock, page)


@pytest.mark.parametrize(
    ("expression", "good"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-3.0-only) AND Unicode-3.0", True),
        ("GPL-3.0-only OR MIT AND Zlib", True),
        ("(GPL-3.0-only OR MIT) AND AGPL-3.0-only", False),
        ("Apache-2.0 / MIT", True),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("", False),
        ("MIT GPL-3.0-only", False),
        ("(MIT", False),
        ("file LICENSE", False),
    ],
)
def test_a_licence_is_allowed_when_its_expression_can_be_met(expression: str, good: bool) -> None:
    assert allowed(expression) is good
