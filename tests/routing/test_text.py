"""YAML that is refused before it costs anything."""

from __future__ import annotations

import pytest

from turnout_server.routing.text import MAX_CHARACTERS, parse
from turnout_server.vocabulary.errors import InvalidRouteTableError

GOOD = "routes: {r: {task: price, salt: s, targets: [{name: a, model: m, version: 1, weight: 1}]}}"


def test_a_table_is_read_and_has_a_digest_of_its_text() -> None:
    assert [one.name for one in parse(GOOD)] == ["r"]
    assert parse(GOOD).digest != parse(GOOD + "\n").digest


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("#" * (MAX_CHARACTERS + 1), "at most"),
        ("routes: {", "line 1, column 10"),
        ("a: &x 1\nb: *x", "aliases are not allowed"),
        ("routes: {}\nroutes: {}", "'routes' stands twice"),
        ("? [1]\n: 2", "a key must be a name"),
        ("a: " + "9" * 20, "too large"),
        ("a: " + "1:" * 3000 + "1", "too large"),
        ("[" * 2_000, "nested too deeply"),
        ("routes: !!map [a]", "line 1, column 9.*expected a mapping"),
        ("routes: !!set a", "line 1, column 9.*expected a mapping"),
        ("routes: !!bool x", "line 1, column 9.*this is no bool"),
        ("routes: !!int ''", "line 1, column 9.*this is no int"),
        ("routes: !!timestamp x", "line 1, column 9.*this is no timestamp"),
        ("routes: 2026-13-45", "line 1, column 9.*this is no timestamp"),
        ("routes: " + "1:" * 200 + "1.5", "line 1, column 9.*this is no float"),
        (r'"\UFFFFFFFF": 1', "not YAML"),
        (r'"\U00110000": 1', "not YAML"),
        (GOOD.replace("salt: s", r'salt: "\ud800"'), r"\$.routes.r.salt: found '\\ud800', with half a surrogate pair"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(InvalidRouteTableError, match=problem):
        parse(text)
