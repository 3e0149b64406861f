"""Every command's tables on narrow terminals: nothing of a cell is cut."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import Run
from tests.cli.test_bench_view import PLAN, result
from tests.client.fake import FakeGateway
from tests.journal.journals import row, write_segment
from turnout_server.cli import bench_view, grid, output
from turnout_server.load import Answerer

LONG = "recommendation-homepage-personalised"
"""As teams call their models, and still not the longest name there may be."""
ROUTES = f"""\
routes:
  {LONG}-evenings:
    task: price
    salt: long
    targets:
      - {{name: {LONG}-control, model: {LONG}, version: champion, weight: 90}}
      - {{name: {LONG}-canary, model: {LONG}, version: challenger-of-november, weight: 10}}
    fallback: {LONG}-control
"""
PROBLEM = "the file model.onnx has another digest than its manifest says: expected 5f2c" + "0" * 60

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")

texts = st.text(st.characters(exclude_categories=("C", "Z")), max_size=30)
words = st.lists(texts, max_size=8).map(" ".join)


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", ESCAPES.sub("", text))


@given(st.data(), st.integers(20, 100), st.booleans())
def test_nothing_is_wider_than_the_terminal_and_nothing_is_lost(data: st.DataObject, width: int, wide: bool) -> None:
    columns = data.draw(st.lists(st.text("abcdef", min_size=1, max_size=12), min_size=1, max_size=8, unique=True))
    rows = data.draw(st.lists(st.lists(words, min_size=len(columns), max_size=len(columns)), max_size=4))
    prose = data.draw(st.sets(st.sampled_from(columns)))
    lines = grid.lay_out(columns, rows, None if wide else width, right=prose, below_first=prose)
    if wide:
        assert len(lines) <= len(rows) + 1
    else:
        assert all(grid.measure(line) <= width for line in lines)
    shown = Counter(squeezed("".join(lines)))
    assert shown >= Counter(squeezed("".join(cell for cells in rows for cell in cells)))


def test_what_does_not_fit_stands_below_its_row_with_its_name() -> None:
    lines = grid.lay_out(
        ("model", "version", "metrics", "size"),
        [("price", "2", "rmse 517, mae 261", "493.0 kB"), ("price", "1", "", "108.0 kB")],
        30,
        right=("version", "size"),
        below_first=("metrics",),
    )
    assert lines == [
        "MODEL  VERSION      SIZE",
        "price        2  493.0 kB",
        "  metrics rmse 517, mae 261",
        "price        1  108.0 kB",
    ]


def test_letters_of_two_columns_count_as_two() -> None:
    assert (grid.measure("車"), grid.measure("é"), grid.measure("e\u0301")) == (2, 1, 1)
    assert grid.fold("車車車", 4) == ["車車", "車"]


Narrow = Callable[[int | None], None]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Narrow:
    """Make stdout a terminal of so many columns, or a pipe for None."""

    def made(columns: int | None) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: columns is not None, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns or 80))

    return made


class Seen:
    """All tables that were printed: their cells, and their lines."""

    def __init__(self) -> None:
        self.tables: list[tuple[list[str], list[str]]] = []

    def check(self, printed: str, columns: int | None) -> int:
        """Nothing of a cell is missing in what was *printed*, and no table is too wide; return how many there were."""
        found, self.tables = self.tables, []
        for cells, lines in found:
            assert "\n".join(lines) in printed
            everything = squeezed("".join(lines))
            for cell in cells:
                assert squeezed(cell) in everything, cell
            if columns is not None:
                for line in lines:
                    assert grid.measure(ESCAPES.sub("", line)) <= columns, line
        return len(found)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    kept, real = Seen(), output.table_lines

    def spied(columns: Sequence[str], rows: Sequence[Sequence[object]], *rest: Any, **more: Any) -> list[str]:
        lines = real(columns, rows, *rest, **more)
        kept.tables.append(([output.plain(cell) for cells in rows for cell in cells if cell is not None], lines))
        return lines

    monkeypatch.setattr(output, "table_lines", spied)
    return kept


@pytest.fixture
def long_names(store: Path) -> Path:
    """A store of two versions with a long name, long labels, and a route to them."""
    shutil.move(store / "models" / "price", store / "models" / LONG)
    for file in (store / "models" / LONG).rglob("manifest.json"):
        file.write_text(file.read_text().replace('"model":"price"', f'"model":"{LONG}"'))
    (store / "models" / LONG / "labels.json").write_text('{"champion": 1, "challenger-of-november": 2}')
    (store / "routes.yaml").write_text(ROUTES)
    return store


@pytest.mark.parametrize("columns", [80, 60, None])
def test_no_command_cuts_its_tables(
    run: Run, long_names: Path, tmp_path: Path, narrow: Narrow, seen: Seen, columns: int | None
) -> None:
    (long_names / "models" / LONG / "2" / "model.onnx").write_bytes(b"broken")
    folder = tmp_path / "journal"
    route = f"{LONG}-evenings"
    names = {"route": route, "model": LONG}
    write_segment(
        folder,
        [
            row(0, **names, took_us=1000),
            row(1, **names, copy_of=0, served=None, version=2, shadow_delta=0.25, shadow_absolute=1.0),
        ],
    )
    narrow(columns)
    for command in (
        ("models",),
        ("models", LONG),
        ("verify",),
        ("routes", "show"),
        ("assign", route, "customer-1"),
        ("assign", route, "customer-1", "a-customer-whose-name-is-longer-than-others"),
        ("doctor",),
        ("journal", "status", "--journal", folder),
        ("journal", "query", "--journal", folder, "SELECT route, model, version FROM records"),
        ("shadow", "report", route, "--journal", folder),
    ):
        ran = run(*command)
        assert ran.code in (0, 1), ran.err
        assert seen.check(ran.out, columns) or command[0] == "journal", command  # SQL's wide results aren't tables
        if command[0] == "shadow":
            assert all(grid.measure(ESCAPES.sub("", line)) <= (columns or 80) for line in ran.out.splitlines())


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    yield fake
    fake.stop()


@pytest.mark.parametrize("columns", [80, 60])
def test_what_is_asked_of_a_gateway_fits_too(
    run: Run, long_names: Path, tmp_path: Path, narrow: Narrow, seen: Seen, gateway: FakeGateway, columns: int
) -> None:
    bundle = tmp_path / ("a-folder-of-incidents-that-somebody-else-has-named-" + "x" * 40) / "incident.tar.gz"
    bundle.parent.mkdir()
    data = tmp_path / "rows.json"
    data.write_text('[{"carat": 0.7, "depth": 61}, {"carat": 1.5}]')
    narrow(columns)
    at = ("--target", gateway.target)
    for command in (
        ("incident", *at, "--metrics", "127.0.0.1:9", "--output", bundle),
        ("call", "diamonds", *at, "--data", data, "--explain-defaults"),
        ("call", LONG, *at, "-f", "carat=1", "--explain-defaults"),
        ("call", LONG, *at, "-f", "x=1,2", "--explain-defaults"),
        ("health", *at),
        ("models", *at),
        ("routes", "show", *at),
    ):
        ran = run(*command)
        assert ran.code in (0, 1), (command, ran.err)
        seen.check(ran.out, columns)
        for line in ran.out.splitlines():
            assert grid.measure(ESCAPES.sub("", line)) <= columns, (command, line)


@pytest.mark.parametrize("columns", [80, 60, None])
def test_a_bench_of_long_names_is_not_cut(
    capsys: pytest.CaptureFixture[str], narrow: Narrow, seen: Seen, columns: int | None
) -> None:
    narrow(columns)
    served = Counter({Answerer(f"{LONG}-control", LONG, "12345"): 2, Answerer(f"{LONG}-canary", LONG, "12346"): 1})
    bench_view.report(f"{LONG}-evenings", [(PLAN, result(served=served, messages={"NOT_FOUND": PROBLEM}))] * 2)
    assert seen.check(capsys.readouterr().out, columns) == 3
