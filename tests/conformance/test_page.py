"""The page says what the cases say, and the cases are of one mind."""

from __future__ import annotations

from collections import Counter

from tests.conformance.case import UNSAID, Case
from tests.conformance.otherwise import OTHERWISE
from tests.conformance.page import CHAPTERS, PAGE, written

CASES = [case for chapter in CHAPTERS for case in chapter.cases]


def test_the_page_is_what_the_cases_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == written(), "python -m tests.conformance writes it"


def test_every_case_has_a_name_of_its_own() -> None:
    names = Counter((case.section, case.name) for case in CASES)
    assert [name for name, count in names.items() if count > 1] == []


def test_what_is_answered_otherwise_is_of_a_case_and_not_what_its_rule_has_first() -> None:
    cases: dict[tuple[str, str], Case] = {(case.section, case.name): case for case in CASES}
    for plane, answers in OTHERWISE.items():
        assert [name for name in answers if name not in cases] == [], plane
        assert [name for name, answer in answers.items() if answer == cases[name].rules[0]] == [], plane
        assert [name for name, case in cases.items() if case.rule == UNSAID and name not in answers] == [], plane
