"""Attackers attack, are hung up on and come again, and account for the calls that they begin."""

from __future__ import annotations

import asyncio
from random import Random

from benchmarks.attack.wire import ATTACKS, OPENING
from tests.soak.asks import INFER, STREAM
from tests.soak.attackers import LISTING, Attacker, calls_in
from tests.soak.ledger import Ledger


def test_calls_are_found_in_what_an_attack_says() -> None:
    assert calls_in(ATTACKS["silent streams"].once) == {INFER: 0, STREAM: 250, LISTING: 0}
    assert calls_in(ATTACKS["rapid reset"].again) == {INFER: 200, STREAM: 0, LISTING: 0}
    assert calls_in(ATTACKS["calls that Python answers"].again) == {INFER: 0, STREAM: 0, LISTING: 50}


async def test_every_attack_is_tried_on_who_hangs_up_and_on_who_does_not() -> None:
    heard = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(len(OPENING)))
        if len(heard) % 2:
            while await reader.read(1 << 16):
                pass
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    ledger = Ledger()
    attacker = Attacker(_Hasty(1), address, ledger)
    await attacker.attack(lambda: len(ledger.attacks) == len(ATTACKS))
    server.close()
    assert ledger.attacks.keys() == ATTACKS.keys()
    assert set(heard) <= {OPENING, b""}
    assert len(heard) > len(ATTACKS)
    assert ledger.unseen_calls[INFER] > 0


async def test_a_server_that_is_not_there_ends_nobody() -> None:
    ledger = Ledger()
    await Attacker(_Hasty(1), "127.0.0.1:1", ledger).attack(lambda: bool(ledger.attacks))
    assert not ledger.problems


class _Hasty(Random):
    """Random numbers of one whose attacks are short."""

    def uniform(self, a: float, b: float) -> float:
        return 0.05
