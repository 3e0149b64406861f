"""One run: a server of its own, everybody at once, a look at what the server holds, and all judgements at the end."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, NamedTuple

from grpc import aio

from tests.e2e.conftest import Gateway
from tests.e2e.probes import serving
from tests.soak import accounts, logs
from tests.soak.asks import DEFECTS
from tests.soak.attackers import Attacker
from tests.soak.callers import PATIENCE_S, Caller, connected
from tests.soak.disk import Disk
from tests.soak.holdings import Holdings, grown, holdings
from tests.soak.keeper import Keeper
from tests.soak.ledger import Ledger
from tests.soak.metrics import scrape
from tests.soak.models import MODELS, Model
from tests.soak.shelf import ROUTES, Shelf
from tests.soak.vandals import Vandal
from turnout.v1 import route_service_pb2 as pb
from turnout_server.execution.workers import FEWEST_THREADS
from turnout_server.rpc.stubs import open_inference_pb2 as oip

_DUMP = "Fatal Python error: Aborted"
"""How what the server says of its threads begins, when it is aborted."""
_OIP = "inference.GRPCInferenceService"
CALLERS, STREAMS, VANDALS, ATTACKERS = 6, 2, 2, 1
ATTACKS_TRIED = 5
"""How many different attacks have to have been tried."""
ROTATE_S = 1.0
"""How old a segment of the journal gets: what is written seldom is seldom refused."""
NO_ROOM = "the journal cannot be written"
"""What the server says then."""
LONG_S = 60.0
"""From how long on a run has time for deeds that take many seconds."""
POLL_S = 0.1
"""How often the server looks at its store."""
GRACE_S = 15.0
"""How long calls in progress may take after SIGTERM."""
END_S = 10.0
"""How long the server may take to end once its calls have."""
SETTLE_S = 60.0
"""How long the server may take to come to rest, on a busy machine; what is sooner is seen sooner."""
WARM_UP = 0.3
"""The part of the time after which the server's size is taken for the first time."""
THREADS = FEWEST_THREADS + 8
"""How many threads may have come since the warm-up: its workers, loaders and helpers are started when first needed."""
GROWTH_MIB = 32.0
"""How much the server may have grown since the warm-up. What the allocators of some twenty threads keep comes and goes:
measured were 17 less to 16 more, after minutes as after seconds. A leak of 1 KiB a request takes 20 MiB more in a
minute, and of a version each time that it is loaded again more than that."""
TOO_MANY = 50
"""Problems after which there is no point in going on."""


class Plan(NamedTuple):
    """What is asked of a run."""

    seed: int
    seconds: float
    """How long everybody is at it, the warm-up included."""
    data_plane: str
    directory: Path
    """For the store, the server's log and the keeper's."""
    say: Callable[[str], None] = print


class Soak:
    """One run."""

    def __init__(self, plan: Plan) -> None:
        """Make a run that has not begun."""
        self.ledger = Ledger()
        self.shelf = Shelf()
        self._plan = plan
        self._store = plan.directory / "store"
        workshop = plan.directory / "workshop"
        workshop.mkdir()
        self._journal = (plan.directory / "keeper.log").open("w", encoding="utf-8")
        self._kept = plan.directory / "journal"
        self.disk = Disk(workshop, self._store, self._kept)
        self.keeper = Keeper(
            self._store,
            workshop,
            Random(f"{plan.seed} keeper"),
            self.shelf,
            self.disk,
            plan.seconds >= LONG_S,
            self._note_deed,
        )
        self._episode = 0

    async def run(self) -> list[str]:
        """Run, and return all that was wrong."""
        plan = self._plan
        await asyncio.to_thread(self.keeper.found)
        settings = {"store.poll_s": POLL_S, "grace_s": GRACE_S, "data_plane": plan.data_plane}
        settings |= {"journal.path": self._kept, "journal.rotate_s": ROTATE_S}
        arguments = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        log = plan.directory / "server.log"
        with (
            serving(self._store, log, *arguments, PYTHONFAULTHANDLER="1", **self.disk.environment) as gateway,
            self._journal,
        ):
            if not self.disk.lies:
                plan.say("there is no C compiler here: the disk does not lie")
            plan.say(f"the server is process {gateway.pid}, on {gateway.address}")
            try:
                await self._live(gateway)
            except Exception:
                self.ledger.problem("the soak itself failed", traceback.format_exc())
            if self.ledger.problems and gateway.process.poll() is None:
                # Should it hang, its log now says where.
                gateway.process.send_signal(signal.SIGABRT)
                await asyncio.to_thread(gateway.process.wait, END_S)
            log_text = gateway.log().partition(_DUMP)[0]
            self.ledger.problems += logs.check(log_text, self.shelf, self.keeper.outages)
        return self.ledger.problems

    async def _live(self, gateway: Gateway) -> None:
        seconds = self._plan.seconds
        before = await self._everything(gateway, seconds * WARM_UP)
        self._plan.say(f"after the warm-up: {before}; {self._progress()}")
        after = await self._everything(gateway, seconds * (1 - WARM_UP))
        self._plan.say(f"afterwards:        {after}; {self._progress()}")
        for problem in grown(before, after, GROWTH_MIB, THREADS):
            self.ledger.problem("holdings", problem)
        await self._check_books(gateway)
        self._check_coverage(gateway)
        await self._serves_well(gateway)
        await self._end(gateway)

    # ------------------------------------------------------------ everybody at once

    async def _everything(self, gateway: Gateway, seconds: float) -> Holdings:
        """Have everybody at it for so long; return what the server holds when they have gone."""
        until = monotonic() + seconds

        def over() -> bool:
            return monotonic() >= until or self._hopeless(gateway)

        await self._at_once(seconds, *(work(over) for work in self._people(gateway)), self.keeper.keep(over))
        await asyncio.to_thread(self.keeper.tidy)
        await self._at_rest(gateway)
        return holdings(gateway.pid)

    def _people(self, gateway: Gateway) -> list[Callable[[Callable[[], bool]], Awaitable[None]]]:
        """Return what clients do, each with random numbers of its own: nobody's depend on who comes first."""
        self._episode += 1
        names = [f"caller-{number}" for number in range(CALLERS)]
        callers = [self._caller(gateway, name) for name in names]
        streams = [self._caller(gateway, f"stream-{number}") for number in range(STREAMS)]
        vandals = [self._vandal(gateway, f"vandal-{number}") for number in range(VANDALS)]
        attackers = [self._attacker(gateway, f"attacker-{number}") for number in range(ATTACKERS)]
        return [
            *(attacker.attack for attacker in attackers),
            *(caller.call for caller in callers),
            *(caller.stream for caller in streams),
            *(vandal.vandalise for vandal in vandals),
            self._caller(gateway, "flood").flood,
            self._caller(gateway, "looker").look,
            lambda over: self._scrape(gateway, over),
        ]

    def _caller(self, gateway: Gateway, name: str) -> Caller:
        return Caller(f"{name}-{self._episode}", self._random(name), gateway.address, self.shelf, self.ledger)

    def _vandal(self, gateway: Gateway, name: str) -> Vandal:
        return Vandal(f"{name}-{self._episode}", self._random(name), gateway.address, self.shelf, self.ledger)

    def _attacker(self, gateway: Gateway, name: str) -> Attacker:
        return Attacker(self._random(name), gateway.address, self.ledger)

    def _random(self, name: str) -> Random:
        return Random(f"{self._plan.seed} {name} {self._episode}")

    async def _at_once(self, seconds: float, *works: Awaitable[None]) -> None:
        """Do everything at once; what goes on long after its time hangs."""
        tasks = [asyncio.ensure_future(work) for work in works]
        done, pending = await asyncio.wait(tasks, timeout=seconds + 2 * PATIENCE_S)
        for task in pending:
            self.ledger.problem("somebody hangs", str(task))
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        for task in done:
            task.result()

    async def _scrape(self, gateway: Gateway, over: Callable[[], bool]) -> None:
        assert gateway.metrics is not None
        while not over():
            await asyncio.to_thread(scrape, gateway.metrics)
            await asyncio.sleep(0.2)

    def _hopeless(self, gateway: Gateway) -> bool:
        if gateway.process.poll() is not None and not self.ledger.closing:
            self.ledger.problem("the server", f"ended with {gateway.process.returncode}")
            raise RuntimeError("the server is gone")
        return len(self.ledger.problems) > TOO_MANY

    # ------------------------------------------------------------ at rest

    async def _at_rest(self, gateway: Gateway) -> None:
        """Wait until the server has nothing to do, serves exactly what the tidy store has, and holds no connection."""
        await self._until("it serves what the store has", lambda: self._in_step(gateway))
        await self._until("nothing is under way", lambda: self._idle(gateway))
        gc.collect()  # calls that were given up hold their connections until then
        last: list[int] = []

        async def steady() -> bool:
            last.append(holdings(gateway.pid).files.total())
            await asyncio.sleep(0.1)
            return len(last) >= 10 and len(set(last[-10:])) == 1

        await self._until("its files are steady", steady)

    async def _until(self, what: str, look: Callable[[], Awaitable[bool]]) -> None:
        deadline = monotonic() + SETTLE_S
        while not await look():
            if monotonic() > deadline:
                self.ledger.problem("at rest", f"not within {SETTLE_S:g} s: {what}")
                return
            await asyncio.sleep(0.05)

    async def _in_step(self, gateway: Gateway) -> bool:
        async with connected(gateway.address) as channel:
            index = await self._ask(channel, f"{_OIP}/RepositoryIndex", oip.RepositoryIndexRequest())
            routes = await self._ask(channel, "turnout.v1.RouteService/ListRoutes", pb.ListRoutesRequest())
        models = oip.RepositoryIndexResponse.FromString(index).models
        states = {(one.name, int(one.version)): one.state for one in models}
        stored = {(name, version): "READY" for name in MODELS for version in self.shelf.stored[name]}
        return states == stored and not pb.ListRoutesResponse.FromString(routes).table_problem

    async def _idle(self, gateway: Gateway) -> bool:
        samples = await asyncio.to_thread(self._samples, gateway)
        gauges = (*samples["turnout_requests_in_flight"].values(), *samples["turnout_queue_rows"].values())
        return not any(gauges)

    async def _ask(self, channel: aio.Channel, method: str, request: Any) -> bytes:
        call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{method}")
        raw = await call(request.SerializeToString(), timeout=PATIENCE_S)
        self.ledger.ended(method, "OK")
        return raw

    def _samples(self, gateway: Gateway) -> accounts.Samples:
        assert gateway.metrics is not None
        return scrape(gateway.metrics, accounts.WATCHED)

    # ------------------------------------------------------------ judgements

    async def _check_books(self, gateway: Gateway) -> None:
        async with connected(gateway.address) as channel:
            raw = await self._ask(channel, f"{_OIP}/ModelStatistics", oip.ModelStatisticsRequest())
        statistics = list(oip.ModelStatisticsResponse.FromString(raw).model_stats)
        samples = await asyncio.to_thread(self._samples, gateway)
        books = accounts.Books(samples, statistics, logs.unloaded(gateway.log()))
        for problem in accounts.check(books, self.ledger):
            self.ledger.problem("counts", problem)

    def _check_coverage(self, gateway: Gateway) -> None:
        """A run in which something never came up proves nothing of it."""
        ends = self.ledger.ends
        answered = {what for (what, code), _ in ends.items() if code == "OK"}
        wanted = {f"{form} {name}" for form in ("raw", "typed") for name in (*MODELS, *ROUTES)}
        missing = sorted((wanted | {"price", "rank", "recommend"}) - answered)
        missing += [what for what in DEFECTS if not any(end[0] == f"defect: {what}" for end in ends)]
        if not self.ledger.refused["QUEUE_FULL"]:
            missing.append("a full queue")
        if len(self.ledger.attacks) < ATTACKS_TRIED:
            missing.append("attacks")
        if self.disk.lies and NO_ROOM not in gateway.log():
            missing.append("a journal without room")
        missing += [f"the deed: {deed}" for deed in self.keeper.undone]
        if missing:
            self.ledger.problem("too short", f"these never came up: {', '.join(missing)}")

    async def _serves_well(self, gateway: Gateway) -> None:
        """New versions are taken up and answer, of every model."""
        await asyncio.to_thread(self.keeper.publish_everything)
        caller = self._caller(gateway, "afterwards")
        async with connected(gateway.address) as channel:
            for model in MODELS.values():
                newest = self.shelf.labels[model.name]["champion"]

                async def taken_up(model: Model = model, newest: int = newest) -> bool:
                    answers = self.ledger.answers.copy()
                    await caller.wait(channel, caller.composer.pinned(model, "champion"))
                    return any(served.version == newest for served in self.ledger.answers - answers)

                await self._until(f"the new champion of {model.name} answers", taken_up)
            for make in (caller.composer.price, caller.composer.rank, caller.composer.recommend):
                await caller.wait(channel, make())

    # ------------------------------------------------------------ the end

    async def _end(self, gateway: Gateway) -> None:
        """SIGTERM ends the server in order while everybody is at it: who has been let in is answered."""
        over = False
        people = [asyncio.ensure_future(work(lambda: over)) for work in self._people(gateway)[:-1]]
        await asyncio.sleep(1.0)
        self.ledger.closing = True
        began = monotonic()
        gateway.process.terminate()
        try:
            code = await asyncio.to_thread(gateway.process.wait, GRACE_S + END_S)
        except subprocess.TimeoutExpired:
            self.ledger.problem("SIGTERM", f"did not end it within {GRACE_S + END_S:g} s")
        else:
            self._plan.say(f"SIGTERM ended it in {monotonic() - began:.1f} s, with code {code}")
            if code:
                self.ledger.problem("SIGTERM", f"ended it with code {code}")
        over = True
        await self._at_once(0.0, *people)

    # ------------------------------------------------------------ telling

    def _note_deed(self, deed: str) -> None:
        self._journal.write(f"{datetime.now(UTC).isoformat()} {deed}\n")
        self._journal.flush()

    def _progress(self) -> str:
        ends = self.ledger.ends
        answers = sum(count for (_, code), count in ends.items() if code == "OK")
        deeds, attacks = self.keeper.deeds.total(), self.ledger.attacks.total()
        return f"{ends.total():,} requests, {answers:,} answers, {deeds} deeds, {attacks} attacks"
