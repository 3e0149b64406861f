"""Clients that mean harm: what `make bench-attack` knows, by a few connections at a time, beside everybody else."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from random import Random
from time import monotonic

from benchmarks.attack.wire import ATTACKS, MODELS, OPENING, Attack, numbered
from tests.soak.asks import INFER, STREAM, deck
from tests.soak.ledger import Ledger

CONNECTIONS = 3
"""How many an attacker has at most: the others share two cores with the gateway and with everybody who checks it."""
REST_S = 0.05
"""The least between two pieces of an attack, likewise."""
LONGEST_S = 1.0
"""How long one attack lasts at most."""
BREAK_S = 0.3
"""How long there is peace after it, at most."""
FIRST_STREAM = 2 * 256 + 1
"""Beyond those that attacks begin with."""
LISTING = MODELS.decode().removeprefix("/")


def calls_in(raw: bytes) -> Counter[str]:
    """Return how many calls begin in *raw*, of the methods whose calls are accounted for."""
    return Counter({method: raw.count(f"/{method}".encode()) for method in (INFER, STREAM, LISTING)})


class Attacker:
    """Does one attack after the other, and never takes an answer for anything."""

    def __init__(self, random: Random, address: str, ledger: Ledger) -> None:
        """Make one that has done nothing yet."""
        self._random = random
        self._host, port = address.rsplit(":", 1)
        self._port = int(port)
        self._ledger = ledger

    async def attack(self, over: Callable[[], bool]) -> None:
        """Attack in every way there is, in a random order, again and again."""
        while not over():
            for name in deck(self._random, list(ATTACKS)):
                if over():
                    return
                until = monotonic() + self._random.uniform(0.2, LONGEST_S)
                self._ledger.attacks[name] += 1
                count = min(ATTACKS[name].connections, CONNECTIONS)
                await asyncio.gather(*(self._connection(ATTACKS[name], until) for _ in range(count)))
                await asyncio.sleep(self._random.uniform(0.0, BREAK_S))

    async def _connection(self, attack: Attack, until: float) -> None:
        """Attack on one connection until its time is over; connect again when it is hung up on."""
        while monotonic() < until:
            # A server that is being ended takes nobody.
            with contextlib.suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                reading = asyncio.ensure_future(_read(reader))
                try:
                    await asyncio.wait_for(self._say(writer, reading, attack, until), max(until - monotonic(), 0.01))
                finally:
                    reading.cancel()
                    writer.transport.abort()
            await asyncio.sleep(REST_S)

    async def _say(
        self, writer: asyncio.StreamWriter, reading: asyncio.Future[None], attack: Attack, until: float
    ) -> None:
        said, stream = OPENING + attack.once, FIRST_STREAM
        while True:
            for method, count in calls_in(said).items():
                self._ledger.unseen_calls[method] += count
            writer.write(said)
            await writer.drain()
            if reading.done():
                return
            await asyncio.sleep(max(attack.every_s, REST_S) if attack.again else until - monotonic())
            said, stream = numbered(attack.again, stream) if attack.anew else (attack.again, stream)


async def _read(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass
