"""Files are read as what they are, and what is no row is refused with its place."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path
from typing import Any

import duckdb
import pytest

from turnout_server.journal.boot import BOOTS
from turnout_server.journal.foreign_rows import ImportBusyError, Refusals, digest_of, foreign_file, receiving
from turnout_server.journal.keys import hashed
from turnout_server.journal.mapping import UNIT, ForeignTableError, count, plan
from turnout_server.journal.schema import STAGING
from turnout_server.journal.segments import sweep

NOW = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)
FIELDS = (UNIT, count("n"))
KEY = b"k" * 16


def read(folder: Path, *files: Path) -> tuple[list[Any], Refusals]:
    """Return units' hashes and numbers of the rows that are taken, and the others."""
    with receiving(folder / "journal", NOW) as rows:
        rows.begin(FIELDS, KEY)
        for path in files:
            file = foreign_file(path)
            rows.take_file(file, plan(FIELDS, file.columns, place=str(path)))
        found = rows.connection.execute("SELECT unit, n FROM taken WHERE problem IS NULL ORDER BY place, row")
        return found.fetchall(), rows.refusals()


ROWS = [(hashed("ann", KEY), 1), (hashed("böb", KEY), 2)]
PLAIN = "unit,n\nann,1\nböb,2\n"


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.csv", PLAIN.encode()),
        ("a.csv", PLAIN.strip().encode()),
        ("a.csv", PLAIN.encode("utf-8-sig")),
        ("a.csv", PLAIN.replace("\n", "\r\n").encode()),
        ("a.csv", PLAIN.replace(",", ";").encode()),
        ("a.tsv", PLAIN.replace(",", "\t").encode()),
        ("a.log", PLAIN.replace("ann", '"ann"').encode()),
        ("a.csv.gz", gzip.compress(PLAIN.encode())),
        ("st*r [1].csv", PLAIN.encode()),
    ],
)
def test_a_csv_file_is_read_however_it_is_written(tmp_path: Path, name: str, raw: bytes) -> None:
    (tmp_path / name).write_bytes(raw)
    assert read(tmp_path, tmp_path / name) == (ROWS, Refusals())


def test_cells_may_have_delimiters_quotes_lines_and_hashes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('unit,n\n"a,""b""\nc",1\n# no comment,2\n')
    found, refused = read(tmp_path, tmp_path / "a.csv")
    assert found == [(hashed('a,"b"\nc', KEY), 1), (hashed("# no comment", KEY), 2)]
    assert refused == Refusals()


@pytest.mark.parametrize("kind", ["VARCHAR", "BLOB"])
def test_parquet_may_have_its_texts_as_bytes(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "a.parquet"
    duckdb.sql(f"SELECT 'böb'::VARCHAR{'.encode()' * (kind == 'BLOB')} AS unit, 2::TINYINT AS n").write_parquet(
        str(file)
    )
    assert read(tmp_path, file) == (ROWS[1:], Refusals())


def test_rows_without_cells_and_without_text_are_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"unit,n\nann,1\nbob\nb\xff,3\nc,4,5\nd,x\n")
    found, refused = read(tmp_path, tmp_path / "a.csv")
    assert found == ROWS[:1]
    assert refused.count == 4
    file = tmp_path / "a.csv"
    places = [f"{file}: line 3: ", f"{file}: line 4: ", f"{file}: line 5: ", f"{file}: row 2: n: 'x'"]
    assert [line[: len(place)] for line, place in zip(refused.first, places, strict=True)] == places


def test_the_first_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("unit,n\n" + "ann,x\n" * 25)
    _, refused = read(tmp_path, tmp_path / "a.csv")
    assert (refused.count, len(refused.first)) == (25, 10)


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.csv", b'unit,n\nann,1\nb,"2\nc,3\nd,4\n', "line 3: a quote that does not end"),
        ("a.csv", b"unit,n\nann,1\r\nbob,2\n", "CSV Parser"),
        ("a.csv", "unit,n\n".encode("utf-16"), "in UTF-8"),
        ("a.csv", b"", "expected a first line"),
        ("a.csv", b'"unit\n",n\n', "expected a first line"),
        ("a.csv.gz", b"unit,n\n", "gzip"),
        ("a.parquet", b"unit,n\nann,1\n", "[Nn]o magic bytes"),
        ("none.csv", None, "No such file"),
    ],
)
def test_what_is_no_table_is_refused_whole(tmp_path: Path, name: str, raw: bytes | None, message: str) -> None:
    if raw is not None:
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(ForeignTableError, match=message):
        read(tmp_path, tmp_path / name)


def test_nothing_is_left_behind_and_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(PLAIN)
    left = tmp_path / "journal" / STAGING / "import"
    left.mkdir(parents=True)
    (left / "rows").write_text("of one that was killed")
    read(tmp_path, tmp_path / "a.csv")
    assert not left.exists()


def test_a_gateway_that_tidies_up_meanwhile_leaves_it_alone(tmp_path: Path) -> None:
    with receiving(tmp_path / "journal", NOW) as rows:
        (tmp_path / "journal" / BOOTS).mkdir()
        sweep(tmp_path / "journal")
        assert (rows.folder / "rows").exists()


def test_columns_without_a_name_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('unit,n,,"it\'s"\nann,1,x,y\n')
    assert read(tmp_path, tmp_path / "a.csv") == (ROWS[:1], Refusals())
    assert foreign_file(tmp_path / "a.csv").columns == ("unit", "n", "column 3", "it's")


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(PLAIN)
    with receiving(tmp_path / "journal", NOW), pytest.raises(ImportBusyError, match="somebody else"):
        read(tmp_path, tmp_path / "a.csv")


def test_units_are_on_no_disk_while_rows_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("unit,n\n" + "".join(f"shopper-{n},x\n" for n in range(5000)))
    with receiving(tmp_path / "journal", NOW) as rows:
        rows.begin(FIELDS, KEY)
        file = foreign_file(tmp_path / "a.csv")
        rows.take_file(file, plan(FIELDS, file.columns))
        rows.connection.execute("CHECKPOINT")
        kept = [one.read_bytes() for one in rows.folder.rglob("*") if one.is_file()]
    assert sum(map(len, kept)) > 5000
    assert not any(b"shopper" in one for one in kept)


def test_a_digest_is_of_the_bytes(tmp_path: Path) -> None:
    for name, raw in {"a": b"1", "b": b"1", "c": b"2"}.items():
        (tmp_path / name).write_bytes(raw)
    a, b, c = (digest_of(tmp_path / name) for name in "abc")
    assert a == b != c
