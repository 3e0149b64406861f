"""`turnout top` over a gateway that comes and goes."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from tests.cli.conftest import Run
from tests.cli.test_readings import TEXT, Serve, serve  # noqa: F401
from tests.cli.test_top_view import reading
from turnout_server.cli import grid, top
from turnout_server.cli.readings import Reading, UnreadableError


def follow(*seen: Reading | str) -> list[top.Look]:
    """Return all looks at a gateway that is seen so, a problem where it is away."""
    left = list(seen)
    pauses = [0]

    def read() -> Reading:
        one = left.pop(0)
        if isinstance(one, str):
            raise UnreadableError(one)
        return one

    def pause() -> None:
        pauses[0] += 1
        if not left:
            raise KeyboardInterrupt

    looks: list[top.Look] = []
    with pytest.raises(KeyboardInterrupt):
        looks.extend(top.follow(read, pause))
    assert pauses == [len(seen)]
    return looks


def test_two_readings_are_a_look() -> None:
    (look,) = follow(reading(0.0, 0, 0), reading(2.0, 10, 0))
    assert look.problem == ""
    assert look.screen is not None
    assert look.screen.rate == 5.0


def test_a_gateway_that_goes_and_comes_back_is_followed() -> None:
    away, there = "gone", [reading(float(2 * at), 10 * at, 0) for at in range(6)]
    looks = follow(there[0], there[1], away, away, there[4], there[5])
    assert [look.problem for look in looks] == ["", "gone", "gone", ""]
    assert all(look.screen is not None for look in looks), "what it was stays"
    assert looks[-1].screen is not None
    assert looks[-1].screen.seconds == 2.0, "the time it was away does not count"


def test_one_that_was_never_there_has_no_screen() -> None:
    looks = follow("refused", "refused")
    assert [(look.screen, look.problem) for look in looks] == [(None, "refused")] * 2
    assert "refused; trying again" in top.drawn(looks[0], "http://x")


@pytest.mark.parametrize("columns", [80, 60])
def test_the_terminal_has_room_for_what_is_drawn(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "10")
    monkeypatch.setenv("NO_COLOR", "1")
    for look in follow(reading(0.0, 0, 0), reading(2.0, 10, 0), "cannot read http://127.0.0.1:9464/metrics: refused"):
        lines = top.drawn(look, "http://127.0.0.1:9464")
        assert len(lines) <= 10
        assert all(grid.measure(line) <= columns for line in lines)


def test_a_pipe_gets_one_look(run: Run, serve: Serve) -> None:  # noqa: F811
    ran = run("top", "--metrics", f"127.0.0.1:{serve(200, TEXT.encode())}", "--every", "0.1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("0/s, 0 % failed, 3 in flight")
    assert ["price", "canary", "2", "0", "-", "-", "-"] in [line.split() for line in ran.out.splitlines()]


def test_json_has_it_too(run: Run, serve: Serve) -> None:  # noqa: F811
    found = run("top", "--metrics", f"127.0.0.1:{serve(200, TEXT.encode())}", "--every", "0.1", "--once", "--json").json
    assert found["rows"][1]["target"] == "canary"
    assert found["versions"] == [
        {"model": "price", "version": "2", "state": "AVAILABLE", "queue_rows": 12.0, "wait_p99_ms": None}
    ]


def test_a_stream_of_json_says_when_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    top._stream(iter(follow(reading(0.0, 0, 0), reading(2.0, 10, 0), "gone")))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["rate"] == 5.0
    assert second["problem"] == "gone"


def test_nobody_there_is_one_line(run: Run) -> None:
    ran = run("top", "--metrics", "127.0.0.1:9", "--once")
    assert (ran.code, ran.out) == (69, "")
    assert ran.err == "turnout: error: cannot read http://127.0.0.1:9/metrics: Connection refused\n"
    assert run("top", "--metrics", "nowhere").code == 2


def test_looks_do_not_end_by_themselves() -> None:
    readings = iter(reading(float(at), at, 0) for at in range(100))
    assert len(list(islice(top.follow(lambda: next(readings), lambda: None), 50))) == 50
