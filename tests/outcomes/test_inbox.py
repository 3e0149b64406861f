"""What an inbox has returned for is there, whatever happens to the process; one process at a time has it."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.outcomes.intakes import NOW_US, outcome
from turnout_server.journal.boot import Boot
from turnout_server.outcomes import inbox as inboxes
from turnout_server.outcomes.inbox import Inbox, InboxGoneError, InboxTakenError, left_behind, own
from turnout_server.outcomes.outcome import ACCEPTED, CONTENT_DIFFERS, DUPLICATE, Outcome, Result

BOOT = Boot("gw", "692937a000c0ffee")
KEY, OLDER_KEY = b"k" * 16, b"o" * 16
DAY_US = 86_400_000_000


def put(inbox: Inbox, *outcomes: Outcome, keys: tuple[bytes, ...] = (KEY,), now_us: int = NOW_US) -> list[Result]:
    return inbox.put(outcomes, keys, now_us, BOOT)


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    opened = own(tmp_path, "gw")
    yield opened
    opened.close()


def test_an_outcome_waits_with_its_unit_hashed_and_all_else_as_it_came(inbox: Inbox) -> None:
    assert put(inbox, outcome("a", value=2.5, unit="customer-7"), outcome("b", unit="", request_id="r-7")) == [
        ACCEPTED,
        ACCEPTED,
    ]
    first, second = inbox.waiting(10)
    assert (first.seq, first.outcome_id, first.ts, first.value) == (1, "a", NOW_US - 1_000_000, 2.5)
    assert (first.ingested, first.instance, first.boot) == (NOW_US, *BOOT)
    assert (first.unit is not None, len(first.unit or b""), first.request_id) == (True, 16, None)
    assert (second.unit, second.unit_key_id, second.request_id) == (None, None, "r-7")
    raw = b"".join(file.read_bytes() for file in inbox.file.parent.iterdir())
    assert (b"order" in raw, b"customer-7" in raw) == (True, False)


def test_the_same_again_is_a_duplicate_and_the_same_id_with_another_content_is_not(inbox: Inbox) -> None:
    assert put(inbox, outcome(), outcome()) == [ACCEPTED, DUPLICATE]
    others = (
        outcome(value=2.0),
        outcome(name="click"),
        outcome(unit="bob"),
        outcome(unit="", request_id="ann"),
        outcome(event_us=NOW_US),
    )
    assert put(inbox, *others, outcome()) == [CONTENT_DIFFERS] * len(others) + [DUPLICATE]
    assert inbox.count == 1


def test_a_duplicate_is_known_after_the_file_has_it_and_after_a_new_start(inbox: Inbox) -> None:
    put(inbox, outcome())
    inbox.exported(1)
    inbox.close()
    again = own(inbox.file.parent, "gw")
    assert put(again, outcome()) == [DUPLICATE]
    assert again.count == 0
    again.close()


def test_a_plan_is_the_same_until_its_file_is_there_whoever_asks(inbox: Inbox) -> None:
    assert inbox.plan(2, str) is None
    put(inbox, outcome("a"), outcome("b"), outcome("c"))
    plan = inbox.plan(2, str)
    assert plan == (str(NOW_US), 2)
    inbox.close()
    again = own(inbox.file.parent, "gw")
    assert again.plan(3, lambda _: "elsewhere") == plan
    assert [one.outcome_id for one in again.waiting(10, last=2)] == ["a", "b"]
    assert again.exported(2) == 2
    assert again.plan(3, lambda _: "elsewhere") == ("elsewhere", 3)
    again.close()


def test_numbers_go_on_where_they_were(inbox: Inbox) -> None:
    put(inbox, outcome("a"))
    inbox.exported(1)
    inbox.close()
    again = own(inbox.file.parent, "gw")
    put(again, outcome("b"))
    assert [one.seq for one in again.waiting(10)] == [2]
    again.close()


def test_a_duplicate_is_known_after_the_key_was_changed(inbox: Inbox) -> None:
    put(inbox, outcome(), keys=(OLDER_KEY,))
    assert put(inbox, outcome(), outcome(unit="bob"), keys=(KEY, OLDER_KEY)) == [DUPLICATE, CONTENT_DIFFERS]


def test_an_outcome_that_cannot_be_written_takes_none_of_its_call_with_it_into_the_file(inbox: Inbox) -> None:
    with pytest.raises(UnicodeEncodeError):
        put(inbox, outcome("a"), outcome("\ud800"))
    assert inbox.count == 0
    assert put(inbox, outcome("a")) == [ACCEPTED]


def test_ids_are_forgotten_part_by_part_once_they_are_old(inbox: Inbox) -> None:
    names = [f"o-{number}" for number in range(500)]
    put(inbox, *map(outcome, names))
    put(inbox, outcome("new"), now_us=NOW_US + DAY_US)
    inbox.exported(10**6)
    for part in range(256):
        inbox.forget(NOW_US + 1, part)
        if part == 128:
            known = put(inbox, *map(outcome, names)).count(DUPLICATE)
            assert 0 < known < 500
    assert put(inbox, outcome("new")) == [DUPLICATE]


def test_an_inbox_is_spent_once_all_of_it_is_in_files_and_old(inbox: Inbox) -> None:
    put(inbox, outcome())
    assert not inbox.is_spent(NOW_US + 1)
    inbox.exported(1)
    assert (inbox.is_spent(NOW_US), inbox.is_spent(NOW_US + 1)) == (False, True)


def test_two_of_one_name_have_two_inboxes(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "_PATIENCE_S", 0.0)
    with pytest.raises(InboxTakenError):
        Inbox(inbox.file, 0.0)
    second = own(inbox.file.parent, "gw")
    assert (inbox.name, second.name) == ("gw", "gw~2")
    assert list(left_behind(inbox.file.parent, inbox.file)) == []
    second.close()
    (found,) = left_behind(inbox.file.parent, inbox.file)
    assert found.name == "gw~2"
    found.close()


def test_nobody_hangs_on_a_process_that_hangs_while_it_opens_one(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "_PATIENCE_S", 0.0)
    dead = own(inbox.file.parent, "dead")
    dead.close()
    with (inbox.file.parent / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert list(left_behind(inbox.file.parent, inbox.file)) == []
        for opening in (lambda: own(inbox.file.parent, "new"), inbox.remove):
            with pytest.raises(InboxTakenError):
                opening()
        assert put(inbox, outcome()) == [ACCEPTED]
    (found,) = left_behind(inbox.file.parent, inbox.file)
    found.close()


def test_nothing_counts_as_kept_in_a_file_that_was_removed(inbox: Inbox) -> None:
    put(inbox, outcome("a"))
    inbox.file.unlink()
    with pytest.raises(InboxGoneError):
        put(inbox, outcome("b"))


def test_what_is_left_behind_can_be_removed_and_nothing_stays_of_it(inbox: Inbox) -> None:
    dead = own(inbox.file.parent, "dead")
    put(dead, outcome())
    dead.close()
    (found,) = left_behind(inbox.file.parent, inbox.file)
    found.remove()
    assert sorted(file.name for file in inbox.file.parent.glob(".dead*")) == []
    assert put(inbox, outcome("still")) == [ACCEPTED]


def test_a_unit_s_requests_are_looked_for_in_one_pass_however_many_they_are(inbox: Inbox) -> None:
    put(inbox, *(outcome(name, unit="", request_id=name) for name in ("r-7", "odd\0\u00e9", "odd")))
    statements: list[str] = []
    inbox._database.set_trace_callback(statements.append)
    asked = ["odd\0\u00e9", *(f"r-{number}" for number in range(10_000))]
    assert inbox.remove_requests(asked) == 2
    assert len([one for one in statements if one.startswith("DELETE")]) == 1
    assert [one.request_id for one in inbox.waiting(10)] == ["odd"]
    assert inbox.remove_requests([]) == 0


def test_what_is_no_inbox_is_passed_over_and_told_of(inbox: Inbox) -> None:
    (inbox.file.parent / ".broken.sqlite").write_bytes(b"no database, and long enough to look like none" * 100)
    assert list(left_behind(inbox.file.parent, inbox.file)) == []


def test_an_inbox_of_a_later_release_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / ".gw.sqlite"
    with sqlite3.connect(file) as later:
        later.execute("PRAGMA user_version = 2")
    later.close()
    with pytest.raises(OSError, match="has version 2"):
        own(tmp_path, "gw")
