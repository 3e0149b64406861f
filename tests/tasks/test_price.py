"""Three outputs become one prediction a row."""

from __future__ import annotations

import numpy as np
import pytest

from turnout_server.tasks import price
from turnout_server.tasks.price import Price
from turnout_server.vocabulary.errors import InvalidModelError


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_each_row_has_a_price_and_an_interval(shape: tuple[int, ...]) -> None:
    outputs = {
        name: np.array(values, np.float32).reshape(shape)
        for name, values in {"high": [3, 6], "low": [1, 4], "price": [2, 5]}.items()
    }
    assert price.prices(outputs, 2) == [Price(2, 1, 3), Price(5, 4, 6)]


def test_no_rows_have_no_prices() -> None:
    assert price.prices({name: np.zeros((0, 1)) for name in price.OUTPUTS}, 0) == []


@pytest.mark.parametrize("odd", price.OUTPUTS)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 2), (1, 2)])
def test_anything_but_one_number_a_row_is_the_models_fault(odd: str, shape: tuple[int, ...]) -> None:
    outputs = {name: np.zeros(shape if name == odd else (2,)) for name in price.OUTPUTS}
    with pytest.raises(InvalidModelError, match=f"'{odd}'.*for 2 rows"):
        price.prices(outputs, 2)


@pytest.mark.parametrize(("lengths", "rows"), [((), 1), ((1, 1), 1), ((1, 4), 4), ((3, 4), 4), ((0, 0), 0)])
def test_the_longest_column_says_how_many_rows_there_are(lengths: tuple[int, ...], rows: int) -> None:
    columns = {str(position): np.zeros(length, np.float32) for position, length in enumerate(lengths)}
    assert price.rows(columns) == rows
