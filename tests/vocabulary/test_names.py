"""What may be a name, and what is a number."""

from __future__ import annotations

import re

import pytest

from turnout_server.vocabulary.names import LABEL_PATTERN, NAME_PATTERN, is_version_number


@pytest.mark.parametrize("name", ["a", "7", "a.b-c_d", "a" * 63])
def test_names(name: str) -> None:
    assert re.search(NAME_PATTERN, name)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a/b", "..", "a\n", "a" * 64, "é"])
def test_what_is_no_name(name: str) -> None:
    assert not re.search(NAME_PATTERN, name)
    assert not re.search(LABEL_PATTERN, name)


def test_a_label_never_looks_like_a_version_number() -> None:
    for text in ("7", "0", "007", "v7", "7a", "champion"):
        assert is_version_number(text) is not bool(re.search(LABEL_PATTERN, text))
