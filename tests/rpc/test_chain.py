"""What every call goes through, with no transport, no event loop and no message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.rpc.chain import CANCELLED, EXPIRED, OK, Chain, Check, End, Passage, end_of_abandoned
from turnout_server.vocabulary.errors import Kind, TurnoutError


@dataclass
class Call:
    metadata: dict[str, str] = field(default_factory=dict)
    deadline: float | None = None
    address: str = "127.0.0.1:1"
    principal: str = ""


class NoEntryError(TurnoutError):
    reason = "NO_ENTRY"
    kind = Kind.FORBIDDEN


class Element:
    def __init__(self, name: str, happened: list[Any], refuses: bool = False) -> None:
        self.name, self.happened, self.refuses = name, happened, refuses

    def enter(self, method: str, call: Any) -> str:
        if self.refuses:
            raise NoEntryError(self.name)
        self.happened.append(("enter", self.name))
        return f"state of {self.name}"

    def leave(self, entered: str, method: str, end: End) -> None:
        self.happened.append(("leave", self.name, entered, method, end))


def test_elements_are_entered_in_their_order_and_left_in_reverse_with_what_they_returned() -> None:
    happened: list[Any] = []
    passage = Passage(Chain("a.B/C", [Element("outer", happened), Element("inner", happened)]), Call())
    passage.enter()
    passage.leave(OK)
    assert happened == [
        ("enter", "outer"),
        ("enter", "inner"),
        ("leave", "inner", "state of inner", "a.B/C", OK),
        ("leave", "outer", "state of outer", "a.B/C", OK),
    ]


@given(refusing=st.integers(0, 4))
def test_who_refuses_is_the_last_to_see_the_call_and_only_those_before_hear_of_its_end(refusing: int) -> None:
    happened: list[Any] = []
    elements = [Element(str(number), happened, refuses=number == refusing) for number in range(5)]
    passage = Passage(Chain("a.B/C", elements), Call())
    with pytest.raises(NoEntryError):
        passage.enter()
    end = End("PERMISSION_DENIED", "NO_ENTRY")
    passage.leave(end)
    assert [name for what, name, *_ in happened if what == "enter"] == [str(number) for number in range(refusing)]
    left = [each[1] for each in happened if each[0] == "leave"]
    assert left == [str(number) for number in reversed(range(refusing))]
    assert all(each[-1] == end for each in happened if each[0] == "leave")


def test_an_element_that_fails_on_the_way_out_keeps_no_other_from_hearing_of_it() -> None:
    class Broken(Check):
        def leave(self, entered: None, method: str, end: End) -> None:
            raise ZeroDivisionError

        def enter(self, method: str, call: Any) -> None:
            pass

    happened: list[Any] = []
    passage = Passage(Chain("a.B/C", [Element("gate", happened), Broken()]), Call())
    passage.enter()
    with pytest.raises(ZeroDivisionError):
        passage.leave(OK)
    assert [each[:2] for each in happened] == [("enter", "gate"), ("leave", "gate")]


def test_authentication_and_authorisation_are_one_element_each() -> None:
    class Identify(Check):
        def enter(self, method: str, call: Any) -> None:
            call.principal = call.metadata.get("x-key", "")

    class Permit(Check):
        def enter(self, method: str, call: Any) -> None:
            if call.principal != "anna":
                raise NoEntryError(method)

    chain = Chain("a.B/C", [Identify(), Permit()])
    known, unknown = Call({"x-key": "anna"}), Call({"x-key": "eve"})
    Passage(chain, known).enter()
    with pytest.raises(NoEntryError):
        Passage(chain, unknown).enter()


def test_an_abandoned_call_has_expired_if_its_deadline_has_passed() -> None:
    assert end_of_abandoned(None, 10.0) == CANCELLED
    assert end_of_abandoned(11.0, 10.0) == CANCELLED
    assert end_of_abandoned(10.0, 10.0) == EXPIRED
