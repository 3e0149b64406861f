"""A change by a call is its principal's, or its address's."""

from __future__ import annotations

from tests.rpc.turnout_v1.typed_fakes import FakeCall
from turnout_server.rpc.author import author


def test_a_principal_is_named() -> None:
    call = FakeCall()
    call.principal = "spiffe://shop/pricing"
    by = author(call, "SetLabel")
    assert by.who == "spiffe://shop/pricing"
    assert by.how.startswith("SetLabel at ")


def test_without_one_it_is_where_the_call_comes_from() -> None:
    call = FakeCall()
    call.principal = ""
    assert author(call, "SetLabel").who == f"unnamed, from {call.address}"
