"""Data is read as pinned, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines import sources
from pipelines.sources import Source, SourceError

FEW = b"""\xef\xbb\xbf"TRANSACTION_DT","CUSTOMER_ID","PRODUCT_SUBCLASS","PRODUCT_ID","AMOUNT","SALES_PRICE"
"12/1/2000","01","7","0042","2","30"
"11/1/2000","02","8","43","1","46"
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Return a source whose wheel the cache already holds."""
    monkeypatch.setenv("TURNOUT_CACHE", str(tmp_path))
    wheel = tmp_path / "some_data-1.0.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some_data/file.csv", b"a,b\n1,2\n")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Source("some-data", "1.0", digest, "some_data/file.csv", "Some data")


def test_a_kept_wheel_is_read_without_the_network(kept: Source) -> None:
    assert sources.read(kept) == b"a,b\n1,2\n"


def test_a_wheel_that_is_not_the_pinned_one_is_refused(kept: Source) -> None:
    with pytest.raises(SourceError, match=r"sha256 is .*, expected 000"):
        sources.read(dataclasses.replace(kept, sha256="0" * 64))


def test_a_file_that_is_not_in_the_wheel_is_named(kept: Source) -> None:
    with pytest.raises(SourceError, match=r"cannot read some_data/other\.csv"):
        sources.read(dataclasses.replace(kept, path="some_data/other.csv"))


def test_what_a_manifest_says_of_its_data_names_package_file_and_digest(kept: Source) -> None:
    text = kept.describe()
    assert all(part in text for part in ("some-data 1.0", kept.path, kept.sha256))


def test_purchases_come_by_day_whatever_the_files_order() -> None:
    read = sources.parse_purchases(FEW)
    assert read.day.tolist() == [0, 30]
    assert read.product.tolist() == [43, 42]
    assert read.customer.tolist() == [2, 1]
    assert read.sales.tolist() == [46.0, 30.0]
    assert len(read) == 2


def test_a_line_of_another_length_is_named() -> None:
    with pytest.raises(SourceError, match="line 3: 1 fields, expected 2"):
        sources.parse_table(b"a,b\n1,2\n3\n")


def test_a_table_without_lines_keeps_its_columns() -> None:
    assert {name: len(column) for name, column in sources.parse_table(b"a,b\n").items()} == {"a": 0, "b": 0}


def test_of_equal_rows_the_first_stays() -> None:
    table = {"a": np.array(["1", "2", "1", "1"]), "b": np.array(["x", "x", "x", "y"])}
    left = sources.distinct(table)
    assert left["a"].tolist() == ["1", "2", "1"]
    assert left["b"].tolist() == ["x", "x", "y"]
