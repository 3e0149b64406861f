"""How the runs of `turnout bench` are shown."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pytest

from turnout_server.cli import bench_view
from turnout_server.load import Answerer, Histogram, Plan, Progress, Result

PLAN = Plan(target="127.0.0.1:1", requests=(b"",), seconds=2.0)


def histogram(*durations: float) -> Histogram:
    made = Histogram()
    for one in durations:
        made.record(one)
    return made


PROGRESS = Progress(
    elapsed_s=2.0,
    warming_up=False,
    throughput=1234.0,
    recent=histogram(0.001, 0.002),
    latency=histogram(0.001),
    codes=Counter({"OK": 9, "INTERNAL": 1}),
    served=Counter({Answerer("canary", "price", "2"): 3, Answerer("control", "price", "1"): 1}),
)


def result(**more: Any) -> Result:
    fields: dict[str, Any] = {
        "seconds": 2.0,
        "within": 3,
        "latency": histogram(0.001, 0.001, 0.1),
        "codes": Counter({"OK": 3, "NOT_FOUND": 1}),
        "messages": {"NOT_FOUND": "no such\nthing"},
        "unanswered": 0,
        "served": Counter({Answerer("control", "price", "1"): 2, Answerer("canary", "price", "2"): 1}),
        "calls": 4,
        "cpu_s": 0.1,
        "stopped_early": False,
    }
    return Result(**(fields | more))


def shown(capsys: pytest.CaptureFixture[str], *runs: tuple[Plan, Result]) -> list[list[str]]:
    bench_view.report("price", runs)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_run_is_shown_with_latency_failures_and_who_answered(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, (PLAN, result()))
    assert ["8", "1.5", "1.00", "99.9", "99.9", "99.9", "99.9", "100", "1"] in lines
    assert ["control", "price", "1", "66.7", "%"] in lines
    assert ["canary", "price", "2", "33.3", "%"] in lines
    assert ["NOT_FOUND", "1", "no", "such", "thing"] in lines


def test_each_who_answered_has_its_latency_where_there_is_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    latencies = {Answerer("canary", "price", "2"): histogram(0.004)}
    assert ["canary", "price", "2", "33.3", "%", "4.00", "4.00"] in shown(capsys, (PLAN, result(latencies=latencies)))
    ladder = (PLAN, result(latencies=latencies))
    assert ["canary", "price", "2", "33.3", "%"] in shown(capsys, ladder, ladder)


def test_the_histogram_draws_every_answer(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, (PLAN, result()))
    start = next(index for index, words in enumerate(lines) if words[:2] == ["up", "to"])
    bars = lines[start + 1 :]
    assert sum(int(words[1]) for words in bars) == 3
    assert len(bars[0][2]) == 2 * len(bars[-1][2])


def test_a_ladder_is_a_row_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [Plan(target="127.0.0.1:1", requests=(b"",), concurrency=number) for number in (1, 16)]
    lines = shown(capsys, *((plan, result()) for plan in steps))
    assert [words[0] for words in lines if len(words) == 9] == ["1", "16"]
    assert ["NOT_FOUND", "2", "no", "such", "thing"] in lines
    assert not any(words[:2] == ["up", "to"] for words in lines)


def test_a_sample_is_called_one(capsys: pytest.CaptureFixture[str]) -> None:
    few = shown(capsys, (PLAN, result()))
    many = shown(capsys, (PLAN, result(codes=Counter({"OK": 3000}))))
    said = ["Shares", "are", "of", "3", "answers,", "drawn", "at", "random", "from", "3,000."]
    assert (said in few, said in many) == (False, True)


def test_a_run_without_answers_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = result(within=0, latency=Histogram(), codes=Counter(), messages={}, served=Counter(), unanswered=8)
    lines = shown(capsys, (PLAN, nothing))
    assert ["8", "0", "8"] in lines
    assert ["-", "8", "not", "answered", "by", "the", "end"] in lines


def test_without_a_terminal_progress_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with bench_view.watching("price", PLAN, quiet=False) as view:
        view.show(PROGRESS)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "8 callers, 2 s: 1,234 answers/s, p50 1.00 ms, p99 2.00 ms, 1 of 10 failed\n"
    with bench_view.watching("price", PLAN, quiet=True) as view:
        view.show(PROGRESS)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_progress_is_drawn_over_and_over_and_wiped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with bench_view.watching("price", PLAN, quiet=False) as view:
        view.show(PROGRESS)
        drawn = terminal.getvalue()
    assert "price, 8 callers: 2 s" in drawn
    assert "1,234 answers/s, p50 1.00 ms" in drawn
    assert "75 %  canary (price 2)" in drawn
    assert "\x1b[2K" in terminal.getvalue()[len(drawn) :]


class Terminal(io.StringIO):
    """Says that it is one."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        (PLAN, "8 callers"),
        (Plan(target="t", requests=(b"",), concurrency=1), "1 caller"),
        (Plan(target="t", requests=(b"",), rate=500.0), "500 a second"),
    ],
)
def test_a_run_is_named_by_how_hard_it_pushes(plan: Plan, name: str) -> None:
    assert bench_view.named(plan) == name
