"""The runbook has a part on everything that calls somebody out of bed."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGING = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "INTERNAL"}
"""Codes that are no caller's mistake."""


def test_every_reason_that_pages_somebody_is_in_the_runbook() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| (`[A-Z_`, ]+`) \|", (DOCS / "errors.md").read_text(encoding="utf-8"), re.M)
    reasons = {reason for code, listed in rows if code in PAGING for reason in re.findall(r"[A-Z_]+", listed)}
    assert len(reasons) > 10
    runbook = (DOCS / "runbook.md").read_text(encoding="utf-8")
    assert {reason for reason in reasons if f"`{reason}`" not in runbook} == set()


def test_the_index_leads_to_every_page() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"index.md"}
    assert {page for page in pages if f"({page}" not in index} == set()
