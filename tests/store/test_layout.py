"""Names become parts of keys, and so of paths; these are the names that may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.store.layout import check_label, labels_key, model_folder, version_folder, version_number
from turnout_server.vocabulary.errors import InvalidNameError

ALLOWED = set("abcdefghijklmnopqrstuvwxyz0123456789._-")


@given(st.text() | st.from_regex(r"[./\\a-z0-9\n\0~-]{1,8}", fullmatch=True))
def test_a_name_is_refused_or_stays_directly_below_models(name: str) -> None:
    allowed = 0 < len(name) < 64 and set(name) <= ALLOWED and name[0].isalnum() and name[-1].isalnum()
    try:
        folder = model_folder(name)
    except InvalidNameError:
        assert not allowed
    else:
        assert allowed
        assert folder.split("/") == ["models", name]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "/etc", "A", "a\n", "-a", "a.", ".a", "é", "a" * 64, "a\0"]
)
def test_a_name_that_could_leave_its_place_or_differ_between_systems_is_refused(name: str) -> None:
    with pytest.raises(InvalidNameError, match="is not allowed"):
        labels_key(name)


@pytest.mark.parametrize("name", ["a", "7", "price", "price-eu.v2_1", "a" * 63])
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    assert model_folder(name) == f"models/{name}"


def test_a_refused_name_is_quoted_but_not_at_any_length() -> None:
    with pytest.raises(InvalidNameError, match=r"\(100000 characters\)") as caught:
        model_folder("x" * 100_000)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("label", ["1", "007", "0"])
def test_a_label_may_not_look_like_a_version(label: str) -> None:
    with pytest.raises(InvalidNameError, match="looks like a version number"):
        check_label(label)


@pytest.mark.parametrize("version", [0, -1, True, 10**18, "1"])
def test_only_positive_integers_are_versions(version: int) -> None:
    with pytest.raises(InvalidNameError, match="integers from 1 on"):
        version_folder("price", version)


@given(st.integers(1, 10**18 - 1))
def test_a_version_is_found_again_by_its_folder(version: int) -> None:
    assert version_number(version_folder("price", version).rpartition("/")[2]) == version


@pytest.mark.parametrize("name", ["0", "007", "+7", "7 ", "7\n", "\u0667", "foo", "1_0", "1" * 19])
def test_other_folders_are_no_versions(name: str) -> None:
    assert version_number(name) is None
