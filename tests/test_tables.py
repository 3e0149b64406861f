"""Every row is checked, whatever the others do."""

from __future__ import annotations

import pytest

from tests.tables import check_all


def test_every_row_that_fails_is_listed() -> None:
    seen = []

    def check(name: str, found: object) -> None:
        seen.append(name)
        if found == "raises nothing":
            with pytest.raises(KeyError):
                pass
        assert found == 1, f"found {found}"

    rows = [("good", 1), ("wrong", 2), ("silent", "raises nothing"), ("late", 3)]
    with pytest.raises(pytest.fail.Exception, match="3 of 4 rows") as caught:
        check_all(rows, check)
    assert seen == ["good", "wrong", "silent", "late"]
    for name, said in (("wrong", "found 2"), ("silent", "DID NOT RAISE"), ("late", "found 3")):
        assert f"--- {name}\n" in str(caught.value)
        assert said in str(caught.value)
    assert "--- good" not in str(caught.value)
    check_all(rows[:1], check)


def test_an_empty_table_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="empty"):
        check_all([], lambda name: None)
