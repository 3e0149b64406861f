"""Threads that come when they are needed, and go when they are not."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest
from structlog.testing import capture_logs

from turnout_server import ends
from turnout_server.ends import STUCK_CODE
from turnout_server.pool import Pool

PATIENCE_S = 30


@pytest.fixture
def go() -> threading.Event:
    return threading.Event()


def stuck_in_a_run(began: threading.Event, go: threading.Event) -> None:
    began.set()
    assert go.wait(PATIENCE_S)


def test_a_pool_waits_for_who_ends(go: threading.Event) -> None:
    done: list[int] = []
    with capture_logs() as logged, Pool(2, "worker") as pool:
        pool.submit(done.append, 1)
    assert (done, logged) == ([1], [])


def test_a_pool_leaves_behind_who_does_not_end(monkeypatch: pytest.MonkeyPatch, go: threading.Event) -> None:
    monkeypatch.setattr(ends, "PATIENCE_S", 0.01)
    began = threading.Event()
    with capture_logs() as logged:
        with Pool(2, "worker") as pool:
            pool.submit(stuck_in_a_run, began, go)
            assert began.wait(PATIENCE_S)
        assert "worker_0" in [one.name for one in ends.left_behind()]
    (event,) = logged
    assert event["log_level"] == "error"
    (doing,) = event["doing"]
    assert doing.startswith("worker_0: ")
    go.set()


def test_what_nobody_misses_is_left_behind_without_an_error() -> None:
    go = threading.Event()
    with pytest.MonkeyPatch.context() as patched, capture_logs():
        patched.setattr(ends, "PATIENCE_S", 0.0)
        loads, runs = Pool(1, "loader", loses_nothing=True), Pool(1, "worker")
        for pool in (loads, runs):
            pool.submit(go.wait, PATIENCE_S)
            pool.shutdown()
    try:
        assert ends.code_for(loads._crew) == 0
        assert ends.code_for([*loads._crew, *runs._crew]) == STUCK_CODE
    finally:
        go.set()


def busy(pool: Pool, number: int) -> list[threading.Thread]:
    """Have so many threads at work at once; return them."""
    together = threading.Barrier(number)

    def meet() -> threading.Thread:
        together.wait(PATIENCE_S)
        return threading.current_thread()

    return [future.result(PATIENCE_S) for future in [pool.submit(meet) for _ in range(number)]]


def test_one_thread_does_for_many_one_after_the_other() -> None:
    with Pool(8, "worker") as pool:
        threads = {pool.submit(threading.current_thread).result(PATIENCE_S) for _ in range(1000)}
    assert len(threads) == 1


def test_as_many_threads_work_at_once_as_are_allowed_and_the_rest_waits() -> None:
    with Pool(3, "worker") as pool:
        assert len(set(busy(pool, 3))) == 3
        futures = [pool.submit(threading.current_thread) for _ in range(100)]
        assert {future.result(PATIENCE_S) for future in futures} <= set(pool._crew)
        assert len(pool._crew) == 3


def test_threads_that_a_busy_moment_needed_go_and_one_that_is_used_stays() -> None:
    with Pool(8, "worker", keep_s=0.2) as pool:
        threads = busy(pool, 8)
        while sum(thread.is_alive() for thread in threads) > 1:
            assert pool.submit(threading.current_thread).result(PATIENCE_S) in threads
        assert len(pool._crew) == 1
    assert pool._crew[0] in threads


def test_a_thread_that_has_gone_is_replaced() -> None:
    begun: list[str] = []
    with Pool(1, "worker", lambda: begun.append(threading.current_thread().name), keep_s=0.0) as pool:
        for _ in range(2):
            (thread,) = busy(pool, 1)
            thread.join(PATIENCE_S)
    assert begun == ["worker_0", "worker_1"]


def test_nothing_is_lost_where_threads_come_and_go_all_the_time() -> None:
    with Pool(4, "worker", keep_s=0.0) as pool:
        futures = [pool.submit(int, number) for number in range(5000)]
        assert [future.result(PATIENCE_S) for future in futures] == list(range(5000))


def test_an_error_is_told_and_the_thread_goes_on() -> None:
    with Pool(1, "worker") as pool:
        failed = pool.submit({}.popitem)
        assert isinstance(failed.exception(PATIENCE_S), KeyError)
        assert pool.submit(int).result(PATIENCE_S) == 0


@pytest.mark.parametrize("cancelled", [True, False])
def test_what_waits_at_the_end_is_done_or_cancelled(go: threading.Event, cancelled: bool) -> None:
    pool = Pool(1, "worker")
    first, second = pool.submit(go.wait, PATIENCE_S), pool.submit(int)
    pool.shutdown(wait=False, cancel_futures=cancelled)
    go.set()
    assert first.result(PATIENCE_S)
    assert second.cancelled() is cancelled
    assert cancelled or second.result(PATIENCE_S) == 0
    with pytest.raises(RuntimeError, match="after their end"):
        pool.submit(int)


def test_what_is_cancelled_while_it_waits_is_not_done(go: threading.Event) -> None:
    done: list[int] = []
    with Pool(1, "worker") as pool:
        pool.submit(go.wait, PATIENCE_S)
        waiting: Future[None] = pool.submit(done.append, 1)
        assert waiting.cancel()
        go.set()
    assert done == []


def test_where_no_thread_can_be_started_another_does_it(monkeypatch: pytest.MonkeyPatch, go: threading.Event) -> None:
    def cannot(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Pool(2, "worker") as pool:
        pool.submit(go.wait, PATIENCE_S)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", cannot)
            waiting = pool.submit(int)
        go.set()
        assert waiting.result(PATIENCE_S) == 0


def test_what_is_refused_as_no_thread_can_be_started_is_never_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    done: list[str] = []
    with Pool(1, "worker") as pool:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", cannot)
            with pytest.raises(RuntimeError, match="can't start"):
                pool.submit(done.append, "refused")
        pool.submit(done.append, "next").result(PATIENCE_S)
    assert done == ["next"]
