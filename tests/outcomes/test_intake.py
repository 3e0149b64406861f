"""Who is answered has what was acknowledged on the disk; who is not sends it again, and it is there once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.outcomes.intakes import World, outcome
from turnout_server.config import JournalConfig, OutcomesConfig
from turnout_server.journal.boot import Boot
from turnout_server.outcomes import intake as intakes
from turnout_server.outcomes.intake import SWEEP_S, opening
from turnout_server.vocabulary.errors import OutcomesUnavailableError


def test_what_was_acknowledged_survives_a_kill(world: World) -> None:
    assert world.fates(outcome("a"), outcome("b")) == ["accepted", "accepted"]
    world.die()
    world.start()
    world.pass_(0)
    assert world.ids() == ["a", "b"]
    assert world.fates(outcome("a"), outcome("c")) == ["duplicate", "accepted"]
    world.end()
    assert world.ids() == ["a", "b", "c"]


def test_each_item_has_its_own_fate(world: World) -> None:
    sent = outcome("a"), outcome("a"), outcome("a", value=2.0), outcome("b", value=float("nan")), outcome("c")
    assert world.fates(*sent) == ["accepted", "duplicate", "CONTENT_DIFFERS", "NOT_FINITE", "accepted"]
    counts = world.intake.counts()
    assert counts.fates == {"accepted": 2, "duplicate": 1, "rejected": 2}
    assert (sum(counts.lag.counts), counts.lag.sum, counts.waiting) == (2, 2.0, 2)


def test_all_who_wait_are_written_together_and_get_their_own_answers(world: World) -> None:
    waiting = [world.intake.take([outcome(f"o-{caller}"), outcome("shared")]) for caller in range(3)]
    world.intake.turn(0)
    fates = [[one.fate.value for one in answer.result(0)] for answer in waiting]
    assert fates == [["accepted", "accepted"], ["accepted", "duplicate"], ["accepted", "duplicate"]]


def test_who_has_gone_before_the_turn_has_nothing_kept(world: World) -> None:
    gone, stays = world.intake.take([outcome("a")]), world.intake.take([outcome("b")])
    assert gone.cancel()
    world.intake.turn(0)
    assert len(stays.result(0)) == 1
    world.end()
    assert world.ids() == ["b"]


def test_more_than_may_wait_is_refused_and_told_when_to_come_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intakes, "MOST_WAITING", 2)
    world.intake.take([outcome("a"), outcome("b")])
    with pytest.raises(OutcomesUnavailableError) as refused:
        world.intake.take([outcome("c")])
    assert refused.value.retry_after_s
    world.intake.turn(0)
    assert world.fates(outcome("c")) == ["accepted"]


def test_after_the_end_nothing_is_taken(world: World) -> None:
    waiting = world.intake.take([outcome("a")])
    world.end()
    assert len(waiting.result(0)) == 1
    with pytest.raises(OutcomesUnavailableError):
        world.intake.take([outcome("b")])
    assert world.ids() == ["a"]


# ---------------------------------------------------------------- disks


def test_without_a_disk_nothing_is_acknowledged_and_it_is_tried_again_after_a_second(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("no folder")
    with capture_logs() as logged:
        world = World(tmp_path / "journal")
        for _ in range(2):
            with pytest.raises(OutcomesUnavailableError):
                world.send(outcome("a")).result(0)
        assert world.intake.counts().problem
        (tmp_path / "journal").unlink()
        world.pass_(1)
        assert world.fates(outcome("a")) == ["accepted"]
        assert not world.intake.counts().problem
    told = [one["event"] for one in logged if one["log_level"] != "warning" or "key" not in one["event"]]
    assert told == ["outcomes cannot be taken; callers are refused", "outcomes can be taken again"]
    world.die()


def test_a_disk_that_fails_under_way_refuses_all_who_wait_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.fates(outcome("a")) == ["accepted"]

    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(intakes.Inbox, "put", fail)
        waiting = [world.intake.take([outcome(name)]) for name in ("b", "c")]
        world.intake.turn(world.now)
        for answer in waiting:
            with pytest.raises(OutcomesUnavailableError):
                answer.result(0)
    world.pass_(1)
    assert world.fates(outcome("a"), outcome("b")) == ["duplicate", "accepted"]
    world.end()
    assert world.ids() == ["a", "b"]


def test_an_error_that_nobody_expects_is_told_to_who_waits_and_ends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(intakes.Inbox, "put", fail)
        waiting = world.intake.take([outcome("a")])
        with pytest.raises(ZeroDivisionError):
            world.intake.turn(0)
    with pytest.raises(ZeroDivisionError):
        waiting.result(0)
    assert world.fates(outcome("a")) == ["accepted"]


def test_a_folder_that_was_removed_is_made_again_before_anything_is_acknowledged(world: World) -> None:
    assert world.fates(outcome("a")) == ["accepted"]
    for file in (world.journal / "outcomes").iterdir():
        file.unlink()
    with pytest.raises(OutcomesUnavailableError):
        world.send(outcome("b")).result(0)
    world.pass_(1)
    assert world.fates(outcome("b")) == ["accepted"]
    world.end()
    assert world.ids() == ["b"]


# ---------------------------------------------------------------- files


def test_a_file_is_made_once_its_first_outcome_is_old_and_not_before(world: World) -> None:
    world.fates(outcome("a"))
    world.pass_(59)
    world.fates(outcome("b"))
    assert world.ids() == []
    world.pass_(1)
    assert world.ids() == ["a", "b"]
    assert world.intake.counts().waiting == 0
    world.pass_(60)
    assert len(world.find("FROM outcomes").files) == 1


def test_a_file_is_made_once_there_are_many_outcomes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intakes, "FILE_ROWS", 4)
    monkeypatch.setattr(intakes, "BATCH_ROWS", 2)
    world.fates(*(outcome(f"o-{number}") for number in range(5)))
    world.pass_(0)
    assert world.ids() == ["o-0", "o-1", "o-2", "o-3"]
    world.end()
    assert world.ids() == ["o-0", "o-1", "o-2", "o-3", "o-4"]


def test_a_file_that_cannot_be_written_is_tried_again_and_callers_go_on(tmp_path: Path) -> None:
    failures = [OSError(28, "No space left on device")]

    def write(path: Path, *_: Any) -> None:
        if failures:
            raise failures.pop()
        path.write_bytes(b"a file")

    world = World(tmp_path / "journal", write=write)
    world.fates(outcome("a"))
    world.pass_(60)
    assert world.fates(outcome("b")) == ["accepted"]
    assert list(world.journal.glob("outcomes/date=*/hour=*/*")) == []
    world.pass_(1)
    assert len(list(world.journal.glob("outcomes/date=*/hour=*/*"))) == 1
    world.die()


@pytest.mark.parametrize("moment", ["exported", "waiting"])
def test_a_kill_before_or_after_the_file_is_there_loses_no_row_and_doubles_none(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    world.fates(outcome("a"))

    def killed(*_: Any) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(intakes.Inbox, moment, killed)
        world.pass_(60)
    assert world.ids() == (["a"] if moment == "exported" else [])
    world.fates(outcome("b"))  # which is in no plan yet
    world.die()
    world.start()
    world.pass_(0)
    world.pass_(0)
    assert world.ids() == ["a", "b"]


def test_what_another_gateway_left_behind_gets_into_files(world: World) -> None:
    dead = World(world.journal, "dead")
    dead.fates(outcome("theirs"))
    dead.die()
    world.pass_(0)
    assert world.find("SELECT outcome_id, instance FROM outcomes").rows == [("theirs", "dead")]
    # And what runs is left alone, but its ids are its own.
    alive = World(world.journal, "alive")
    alive.fates(outcome("running"))
    world.pass_(SWEEP_S)
    assert world.ids() == ["theirs"]
    alive.end()
    assert world.ids() == ["running", "theirs"]


def test_the_inbox_of_a_gateway_that_is_long_gone_is_removed(world: World) -> None:
    dead = World(world.journal, "dead")
    dead.fates(outcome("theirs"))
    dead.end()
    world.pass_(13 * 86_400)
    assert list(world.journal.glob("outcomes/.dead*"))
    world.pass_(2 * 86_400)
    assert not list(world.journal.glob("outcomes/.dead*"))
    assert world.ids() == ["theirs"]


def test_an_id_is_known_for_fourteen_days(world: World) -> None:
    world.fates(outcome("a"))
    for _ in range(256):
        world.pass_(60)
    world.now = 13 * 86_400.0
    for _ in range(256):
        world.pass_(60)
    assert world.fates(outcome("a")) == ["duplicate"]
    world.now = 14 * 86_400.0 + 60
    for _ in range(256):
        world.pass_(60)
    assert world.fates(outcome("a")) == ["accepted"]


# ---------------------------------------------------------------- the thread


def test_many_threads_are_answered_by_the_one_that_writes(tmp_path: Path) -> None:
    fates: list[str] = []
    with opening(JournalConfig(path=str(tmp_path)), OutcomesConfig(), Boot("gw", "0" * 16), close_s=30) as intake:

        def call(caller: int) -> None:
            answer = intake.take([outcome("shared"), outcome(f"o-{caller}")]).result(30)
            fates.extend(one.fate.value for one in answer)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(fates) == ["accepted"] * 9 + ["duplicate"] * 7
    assert len(list(tmp_path.glob("outcomes/date=*/hour=*/*.parquet"))) == 1
