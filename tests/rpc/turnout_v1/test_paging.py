"""Pages of names."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.rpc.turnout_v1.paging import page
from turnout_server.vocabulary.errors import InvalidRequestError

names = st.lists(st.text("abcxyz0-.", min_size=1, max_size=6), unique=True).map(sorted)


@given(names=names, size=st.integers(1, 5))
def test_the_pages_together_are_all_names_once(names: list[str], size: int) -> None:
    seen: list[str] = []
    token = ""
    while True:
        found, token = page(names, size, token)
        assert len(found) <= size
        seen += found
        if not token:
            break
        assert len(found) == size
    assert seen == names


@given(names=names.filter(lambda found: len(found) > 2), added=st.text("abcxyz0-.", min_size=1, max_size=6))
def test_what_changes_between_two_pages_moves_nothing_else(names: list[str], added: str) -> None:
    first, token = page(names, 2, "")
    changed = sorted({*names[1:], added})
    rest, _ = page(changed, 1000, token)
    assert [name for name in rest if name in names] == [name for name in changed if name in names and name > first[-1]]


def test_no_size_means_a_hundred() -> None:
    found, token = page([f"{number:04}" for number in range(101)], 0, "")
    assert len(found) == 100
    assert token


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_size_out_of_bounds_is_refused(size: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"page_size: found {size}"):
        page(["a"], size, "")


@pytest.mark.parametrize("token", ["a", "=", "price", "\u00e9", "/+==", "AAAA", base64.b64encode(b"\xff\xfe").decode()])
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequestError, match="page_token"):
        page(["a"], 1, token)
