"""Room for large messages on one connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.transport.native.reservations import Reservations


class Books:
    """Asks for room, and keeps what was granted to whom."""

    def __init__(self, size: int) -> None:
        self.room = Reservations(size)
        self.granted: dict[str, int] = {}

    def ask(self, who: str, size: int) -> None:
        self.room.ask(who, size, lambda granted: self.granted.__setitem__(who, granted))

    def give_back(self, who: str) -> None:
        self.room.give_back(self.granted.pop(who))


@pytest.fixture
def books() -> Books:
    return Books(100)


def test_what_there_is_room_for_is_granted_at_once(books: Books) -> None:
    books.ask("a", 60)
    books.ask("b", 40)
    assert books.granted == {"a": 60, "b": 40}


def test_who_comes_too_late_waits_until_room_is_given_back(books: Books) -> None:
    books.ask("a", 60)
    books.ask("b", 50)
    assert books.granted == {"a": 60}
    books.give_back("a")
    assert books.granted == {"b": 50}


def test_nobody_is_overtaken_by_those_who_want_less(books: Books) -> None:
    books.ask("a", 60)
    books.ask("large", 100)
    books.ask("small", 1)
    assert books.granted == {"a": 60}
    books.give_back("a")
    assert books.granted == {"large": 100}
    books.give_back("large")
    assert books.granted == {"small": 1}


def test_who_withdraws_gets_nothing(books: Books) -> None:
    books.ask("a", 100)
    books.ask("b", 100)
    books.ask("c", 100)
    books.room.withdraw("b")
    books.room.withdraw("nobody")
    books.give_back("a")
    assert books.granted == {"c": 100}


@given(st.lists(st.tuples(st.sampled_from(["ask", "back", "withdraw"]), st.integers(0, 9), st.integers(1, 100))))
def test_never_more_is_granted_than_there_is_and_everybody_gets_their_turn(steps: list[tuple[str, int, int]]) -> None:
    books = Books(100)
    waiting: dict[str, int] = {}
    for step, number, size in steps:
        who = str(number)
        if step == "ask" and who not in books.granted and who not in waiting:
            waiting[who] = size
            books.ask(who, size)
        elif step == "back" and who in books.granted:
            books.give_back(who)
        elif step == "withdraw" and who in waiting:
            del waiting[who]
            books.room.withdraw(who)
        for one in list(waiting):
            if one in books.granted:
                assert books.granted[one] == waiting.pop(one)
        assert sum(books.granted.values()) <= 100
    while books.granted:
        books.give_back(next(iter(books.granted)))
        waiting = {who: size for who, size in waiting.items() if who not in books.granted}
    assert not waiting
