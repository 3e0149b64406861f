"""How long a unit may be."""

from __future__ import annotations

import pytest

from turnout_server.vocabulary.errors import InvalidRequestError
from turnout_server.vocabulary.units import UNIT_LIMIT, check_unit


def test_a_unit_has_its_limit_in_characters() -> None:
    longest = "漢" * UNIT_LIMIT
    assert check_unit(longest) == longest
    with pytest.raises(InvalidRequestError, match=f"x-turnout-unit: {UNIT_LIMIT + 1} characters"):
        check_unit(longest + "漢", "x-turnout-unit")
