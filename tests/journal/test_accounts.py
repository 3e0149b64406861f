"""Each record that was offered is written, dropped by cause, forgotten, pending or missing."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from tests.journal.journals import BOOT, INSTANCE, OTHER_BOOT, row, write_counters, write_segment
from turnout_server.journal import accounts as module
from turnout_server.journal.accounts import Account, Segment, account, accounts, boot_of, ranges
from turnout_server.journal.boot import Boot
from turnout_server.journal.counters import Counters
from turnout_server.vocabulary.exposure import Arm

WHO = Boot(INSTANCE, BOOT)


def segment(n: int, first: int, last: int, **values: object) -> Segment:
    written = last - first + 1
    plain = Segment(
        name=f"{INSTANCE}-{BOOT}-{n}.parquet",
        boot=WHO,
        n=n,
        first_seq=first,
        last_seq=last,
        written=written,
        forgotten=0,
        offered=last + 1,
        dropped={},
        is_last=False,
        rows=written,
        lowest=first,
        highest=last,
    )
    return plain._replace(**values)


def counters(
    offered: int, written: int, segments: int, *, is_closed: bool = False, is_running: bool = False, **dropped: int
) -> Counters:
    return Counters(offered, written, segments, is_closed, dropped, is_running)


def balance(counted: Counters | None, *segments: Segment, **unreadable: str) -> Account:
    return account(WHO, counted, segments, unreadable)


def test_a_clean_boot_is_accounted_for() -> None:
    found = balance(counters(22, 20, 2, is_closed=True, ring_full=2, no_space=0), segment(0, 0, 9), segment(1, 12, 21))
    assert found.is_accounted
    assert (found.state, found.offered, found.written, found.dropped) == ("clean", 22, 20, {"ring_full": 2})


def test_what_a_running_boot_has_not_written_yet_is_pending_and_not_missing() -> None:
    found = balance(counters(25, 20, 2, is_running=True), segment(0, 0, 9), segment(1, 10, 19))
    assert (found.state, found.pending, found.missing) == ("running", 5, 0)
    assert found.is_accounted


def test_what_a_killed_boot_had_not_written_is_missing_by_its_exact_number() -> None:
    found = balance(counters(25, 10, 1, ring_full=3), segment(0, 0, 9))
    assert (found.state, found.missing) == ("unclean", 12)
    assert not found.is_accounted


def test_a_segment_that_was_named_and_not_counted_yet_is_not_missing() -> None:
    found = balance(counters(20, 10, 1), segment(0, 0, 9), segment(1, 10, 19))
    assert (found.missing, found.gone, found.problems) == (0, 0, ())


@pytest.mark.parametrize("present", [(0, 1), (0, 2), (1, 2)])
def test_a_segment_that_is_not_there_is_missed_wherever_it_stood(present: tuple[int, ...]) -> None:
    there = [segment(n, 10 * n, 10 * n + 9) for n in present]
    (absent,) = {0, 1, 2} - set(present)
    found = balance(counters(30, 30, 3, is_closed=True), *there)
    assert found.problems == (f"missing segments: {absent}",)
    assert found.gone == 10


def test_a_damaged_segment_is_named_once_and_its_rows_are_gone() -> None:
    name = f"{INSTANCE}-{BOOT}-1.parquet"
    found = balance(counters(20, 20, 2, is_closed=True), segment(0, 0, 9), **{name: "cut off"})
    assert found.problems == (f"{name}: cut off",)
    assert found.gone == 10


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"rows": 9}, "9 rows; its footer says 10"),
        ({"forgotten": 1}, "10 rows; its footer says 9"),
        ({"highest": 10}, "has seq 10; its footer ends at 9"),
        ({"lowest": -1}, "has seq -1; its footer begins at 0"),
        ({"boot": Boot("x", BOOT)}, f"its footer says x-{BOOT}-0"),
    ],
)
def test_a_footer_that_does_not_match_its_rows_is_named(values: dict[str, object], problem: str) -> None:
    found = balance(counters(10, 10, 1, is_closed=True), segment(0, 0, 9, **values))
    assert found.problems == (f"{INSTANCE}-{BOOT}-0.parquet: {problem}",)


def test_what_was_forgotten_is_accounted_for() -> None:
    found = balance(counters(10, 10, 1, is_closed=True), segment(0, 0, 9, forgotten=4, rows=6, lowest=2))
    assert found.is_accounted
    assert found.forgotten == 4


def test_numbers_that_stand_in_two_segments_are_named() -> None:
    found = balance(counters(15, 20, 2, is_closed=True), segment(0, 0, 9), segment(1, 5, 14))
    assert found.problems == (f"{INSTANCE}-{BOOT}-1.parquet: begins at seq 5; {INSTANCE}-{BOOT}-0.parquet goes to 9",)


def test_without_counters_only_a_closed_boot_is_accounted_for() -> None:
    assert balance(None, segment(0, 0, 9, is_last=True)).is_accounted
    left = balance(None, segment(0, 0, 9))
    assert (left.state, left.is_accounted) == ("unknown", False)


def test_numbers_in_short() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


def test_an_instances_name_may_have_hyphens() -> None:
    assert boot_of(f"a-b-1-{BOOT}-12.parquet") == Boot("a-b-1", BOOT)
    assert boot_of(f"a-b-1-{BOOT}") == Boot("a-b-1", BOOT)
    assert boot_of("a-b-12.parquet") is None


# ---------------------------------------------------------------- gathered from files


def test_files_are_gathered_by_boot(tmp_path: Path) -> None:
    write_segment(tmp_path, [row(0), row(1)], dropped={"ring_full": 1})
    write_counters(tmp_path, offered=5, written=2, segments=1, ring_full=1)
    write_segment(tmp_path, [row(0)], boot=OTHER_BOOT, closed="true")
    write_counters(tmp_path, offered=1, written=1, segments=1, closed=True, boot=OTHER_BOOT)
    killed, clean = accounts(tmp_path).accounts
    assert (killed.boot, killed.state, killed.missing, killed.dropped) == (BOOT, "unclean", 2, {"ring_full": 1})
    assert (clean.boot, clean.state, clean.is_accounted) == (OTHER_BOOT, "clean", True)


def test_a_boot_runs_while_its_counter_file_is_locked(tmp_path: Path) -> None:
    file = write_counters(tmp_path, offered=5, written=0, segments=0)
    with file.open("r+b") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert [each.state for each in accounts(tmp_path).accounts] == ["running"]
    assert [each.state for each in accounts(tmp_path).accounts] == ["unclean"]


def test_damage_within_pages_is_found_by_reading_thoroughly(tmp_path: Path) -> None:
    file = write_segment(tmp_path, [row(0), row(1)], closed="true")
    raw = file.read_bytes()
    at = raw.index(b"(\xb5/\xfd", 100)  # a compressed page, beyond the first columns
    file.write_bytes(raw[:at] + b"\xff" * 8 + raw[at + 8 :])
    (found,) = accounts(tmp_path, is_thorough=True).accounts
    assert found.problems[0].startswith(f"{file.name}: ")


def test_a_footer_without_what_it_should_say_is_named(tmp_path: Path) -> None:
    file = write_segment(tmp_path, [row(0)], dropped=[])
    (found,) = accounts(tmp_path).accounts
    assert f"{file.name}: its footer's turnout.dropped is no object of numbers" in found.problems


def test_footers_say_what_exposures_were_lost_until_then(tmp_path: Path) -> None:
    lost = '[{"route": "price", "experiment": "", "target": "control", "count": 2}]'
    write_segment(tmp_path, [row(0), row(1)], dropped={"ring_full": 3}, dropped_exposures=lost)
    write_segment(tmp_path, [row(5)], n=1, dropped={"ring_full": 3})
    write_segment(tmp_path, [row(6)], n=2, dropped_exposures="[1]")
    (found,) = accounts(tmp_path).accounts
    (before, none) = found.marks
    assert (before.records, before.exposures) == (3, {Arm("price", "", "control"): 2})
    assert before.first_us == before.last_us == 1_795_845_600_000_000
    assert (none.records, none.exposures) == (3, None), "as of earlier gateways"
    assert any("its footer's turnout.dropped_exposures: " in problem for problem in found.problems)
    assert found.loss.marks == found.marks


def test_strangers_are_named_and_nothing_is_not_an_error(tmp_path: Path) -> None:
    assert accounts(tmp_path / "nowhere").is_accounted
    (tmp_path / ".boots").mkdir()
    (tmp_path / ".boots" / f"{INSTANCE}-{BOOT}").write_bytes(b"x" * 4096)
    (tmp_path / ".boots" / f".{INSTANCE}-{BOOT}").write_bytes(b"")  # being made
    folder = tmp_path / "date=2026-11-28/hour=06"
    folder.mkdir(parents=True)
    (folder / "x.parquet").write_bytes(b"x")
    assert accounts(tmp_path).strangers == {
        f".boots/{INSTANCE}-{BOOT}": "not a counter file",
        "date=2026-11-28/hour=06/x.parquet": "cut off: 1 bytes",
    }


def test_a_counter_file_that_is_being_made_is_no_stranger(tmp_path: Path) -> None:
    write_segment(tmp_path, [row(0)])
    write_counters(tmp_path, offered=1, written=1, segments=1, closed=True)
    (tmp_path / ".boots" / f".{INSTANCE}-{OTHER_BOOT}").touch()
    ledger = accounts(tmp_path)
    assert ledger.is_accounted
    assert len(ledger.accounts) == 1


def test_a_segment_that_is_replaced_between_footer_and_rows_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_segment(tmp_path, [row(0), row(1)])
    write_counters(tmp_path, offered=2, written=2, segments=1, closed=True)
    looks: list[int] = []

    def footers(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> dict[Path, dict[str, str]]:
        said = original(connection, files)
        looks.append(len(said))
        if len(looks) == 1:
            write_segment(tmp_path, [row(0)], written=2, forgotten=1)
        return said

    original = module.footers
    monkeypatch.setattr(module, "footers", footers)
    [account] = module.accounts(tmp_path).accounts
    assert (account.is_accounted, account.forgotten, len(looks)) == (True, 1, 2)
