"""A disk that hangs costs who waits for it a bounded time, and others nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from turnout_server.store.blobs import Blob
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.store.patience import KEEP_S, MOST_FREE, Endless, Patience
from turnout_server.store.snapshot import Watcher
from turnout_server.vocabulary.errors import StoreError

PATIENCE_S = 30


class Disk:
    """Hangs until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.read = 0

    def hang(self) -> str:
        self.read += 1
        assert self.go.wait(PATIENCE_S)
        return "late"


def test_what_is_done_in_time_is_returned_and_what_it_raises_is_raised() -> None:
    patience = Patience()
    assert patience.do("a", lambda: 1) == 1

    def wrong() -> NoReturn:
        raise KeyError("x")

    with pytest.raises(KeyError):
        patience.do("a", wrong)


def test_one_thread_does_for_many_who_ask_one_after_the_other() -> None:
    patience = Patience()
    threads = {patience.do("a", threading.current_thread) for _ in range(100)}
    assert len(threads) == 1


def test_of_the_threads_of_many_at_once_a_few_are_kept() -> None:
    disk, patience = Disk(), Patience()
    before = set(threading.enumerate())
    waiting = [threading.Thread(target=patience.do, args=[str(number), disk.hang]) for number in range(4 * MOST_FREE)]
    for thread in waiting:
        thread.start()
    while disk.read < len(waiting):
        threading.Event().wait(0.001)
    helpers = set(threading.enumerate()) - before - set(waiting)
    assert len(helpers) == len(waiting)
    disk.go.set()
    for thread in waiting:
        thread.join(PATIENCE_S)
    while sum(helper.is_alive() for helper in helpers) > MOST_FREE:
        threading.Event().wait(0.001)
    assert patience.do("a", threading.current_thread) in helpers


def test_a_thread_that_has_nothing_to_do_goes_and_is_replaced() -> None:
    patience = Patience(idle_s=0.0)
    threads = [patience.do("a", threading.current_thread) for _ in range(1000)]
    for thread in threads:
        thread.join(PATIENCE_S)
    assert patience.do("a", threading.current_thread) not in threads


def test_what_hangs_is_not_waited_for_again_and_holds_one_thread() -> None:
    disk, patience = Disk(), Patience(within_s=0.2)
    with pytest.raises(StoreError, match=r"^cannot read a: the disk has not answered for 0\.2 s$"):
        patience.do("a", disk.hang)
    for _ in range(100):
        with pytest.raises(StoreError, match=r"^cannot read a: the disk does not answer$"):
            patience.do("a", disk.hang)
    assert disk.read == 1
    assert Patience.do(Patience(), "b", lambda: 1) == 1
    disk.go.set()


def test_others_are_read_meanwhile_and_it_is_too_once_the_disk_answers() -> None:
    disk, patience = Disk(), Patience(within_s=0.2)
    with pytest.raises(StoreError):
        patience.do("a", disk.hang)
    patience._within_s = PATIENCE_S
    assert patience.do("b", lambda: 2) == 2
    disk.go.set()
    answered = threading.Event()
    while not answered.is_set():
        try:
            assert patience.do("a", lambda: 3) == "late"
            answered.set()
        except StoreError:
            continue
    assert patience.do("a", lambda: 3) == 3


def late(patience: Patience, work: Callable[[], object]) -> None:
    """Have *work* done under the name `a`, too late for who has asked."""
    go = threading.Event()

    def slowly() -> object:
        assert go.wait(PATIENCE_S)
        return work()

    patience._within_s = 0.2
    with pytest.raises(StoreError):
        patience.do("a", slowly)
    patience._within_s = PATIENCE_S
    go.set()
    while patience._stuck:
        pass


def test_what_comes_late_is_kept_for_the_next_who_asks_for_the_same() -> None:
    patience = Patience()
    late(patience, lambda: "late")
    assert patience.do("a", lambda: "other", ("list", "a")) == "other"
    assert [patience.do("a", lambda: "new") for _ in range(2)] == ["late", "new"]


def test_an_error_that_comes_late_is_told_too() -> None:
    patience = Patience()
    late(patience, {}.popitem)
    with pytest.raises(KeyError):
        patience.do("a", lambda: "new")
    assert patience.do("a", lambda: "new") == "new"


def test_what_came_long_ago_is_read_anew() -> None:
    now = [0.0]
    patience = Patience(clock=lambda: now[0])
    late(patience, lambda: "late")
    now[0] = KEEP_S
    assert patience.do("a", lambda: "new") == "new"


def test_what_comes_late_and_may_not_be_kept_is_discarded() -> None:
    patience, disk = Patience(within_s=0.2), Disk()
    discarded: list[str] = []
    with pytest.raises(StoreError):
        patience.do("a", disk.hang, discard=discarded.append)
    assert (patience.stuck, discarded) == (1, [])
    disk.go.set()
    while not discarded:
        threading.Event().wait(0.001)
    assert (discarded, patience.stuck) == (["late"], 0)
    assert patience.do("a", lambda: "new", discard=discarded.append) == "new"
    assert discarded == ["late"], "what comes in time is whose who asked"


def test_what_should_take_longer_may() -> None:
    disk, patience = Disk(), Patience(within_s=0.1)
    threading.Timer(0.5, disk.go.set).start()
    assert patience.do("a", disk.hang, more_s=PATIENCE_S) == "late"


def test_each_thread_begins_as_it_is_told_to() -> None:
    begun: list[threading.Thread] = []
    patience = Patience(begin=lambda: begun.append(threading.current_thread()))
    threads = {patience.do("a", threading.current_thread) for _ in range(3)}
    assert set(begun) == threads


def test_who_has_no_patience_to_bound_waits_in_its_own_thread() -> None:
    assert Endless().do("a", threading.current_thread) is threading.current_thread()


def test_each_who_waits_for_the_same_counts() -> None:
    """And one of them who is done says nothing of the others."""
    patience, disks = Patience(within_s=0.5, most_stuck=2), [Disk(), Disk()]
    both = threading.Barrier(2)

    def ask(disk: Disk) -> None:
        def hang() -> str:
            both.wait(PATIENCE_S)
            return disk.hang()

        with pytest.raises(StoreError, match="has not answered"):
            patience.do("a", hang)

    threads = [threading.Thread(target=ask, args=[disk]) for disk in disks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    patience._within_s = PATIENCE_S
    with pytest.raises(StoreError, match="does not answer"):
        patience.do("b", lambda: 1)
    disks[0].go.set()
    while len(patience._stuck) > 1:
        pass
    assert patience.do("b", lambda: 1) == 1
    assert patience.do("a", lambda: 1) == "late"
    with pytest.raises(StoreError, match="does not answer"):
        patience.do("a", lambda: 1)
    disks[1].go.set()


def test_threads_that_hang_are_bounded() -> None:
    disk, patience = Disk(), Patience(within_s=0.2, most_stuck=3)
    for name in "abcdefgh":
        with pytest.raises(StoreError):
            patience.do(name, disk.hang)
    assert disk.read == 3
    disk.go.set()


def test_a_model_whose_labels_hang_keeps_no_other_from_being_seen(tmp_path: Path) -> None:
    """The watcher says what is wrong with that one, and what was known of it stays."""
    disk = Disk()

    class Hanging(DirectoryBlobs):
        def get(self, key: str) -> Blob | None:
            return disk.hang() if key == "models/bad/labels.json" else super().get(key)  # type: ignore[return-value]

    for model in ("bad", "good"):
        folder = tmp_path / "models" / model / "1"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    watcher = Watcher(Hanging(tmp_path), Patience(within_s=0.5))
    for _ in range(3):
        seen = watcher.look()
        assert list(seen.models) == ["good"]
        assert seen.unreadable == {"bad"}
        assert "the disk" in seen.problems["bad"][0]
    assert disk.read == 1
    disk.go.set()
