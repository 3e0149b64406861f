"""Keeps what serves in step with the store: polls it, states the wish to the manager, and swaps the view.

A route table is adopted once every version that it sends requests to is available, so that a swap costs no request.
Until then, and for good when the table is wrong or a version fails to load, the old table serves, and `table_problem`
says why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from turnout_server.ends import losing_nothing
from turnout_server.execution.runner import Runner
from turnout_server.gateway.names import LiveNames
from turnout_server.gateway.obstacles import Obstacles, obstacles
from turnout_server.gateway.tables import Tables, authorship
from turnout_server.routing.changes import changes, listed
from turnout_server.routing.table import EMPTY, RouteTable, selectors
from turnout_server.routing.view import View
from turnout_server.serving.labels import effective_labels
from turnout_server.serving.manager import Manager
from turnout_server.serving.version_policy import VersionPolicy, aspired
from turnout_server.serving.warm import Warm
from turnout_server.store.audit import Entry
from turnout_server.store.manifest import size_of
from turnout_server.store.store import ModelStore, StoreSnapshot
from turnout_server.vocabulary.errors import StoreError, TurnoutError
from turnout_server.vocabulary.versions import Labels, VersionKey

_log = structlog.get_logger("turnout.reconciler")


_SHARE = 0.01
"""How much of a core looking may take at most."""
_FEW = 100
MOST_SAID = 20
"""Changes of a table that one line of the log says."""
LOOK_S = 30.0
"""How long a look at the store may take, in seconds; what takes longer is waited for, but is an error that shows."""
_REST_S = 1e-4
"""How much longer a change of what is served may wait for each model beyond a few, in seconds."""


class Look(NamedTuple):
    """What a look at the store brought: all of it immutable."""

    snapshot: StoreSnapshot
    table: RouteTable | None
    """The table as the store has it; None where it is missing or wrong."""
    problem: str
    """Why there is no table; empty when there is one."""
    meanwhile: RouteTable | None = None
    """The table that was being served, with what has been decided about its routes by now."""
    left_out: Mapping[str, str] = {}
    """Why what was decided about a route is not in force, by its name."""
    author: Entry | None = None
    """Who made the table the present one, where the audit knows."""
    took_s: float = 0.0
    """What it cost the processor, in seconds."""

    def shows_as(self, other: Look) -> bool:
        """Say whether both brought the same."""
        mine, others = self.snapshot, other.snapshot
        # Models that have not changed are the same objects, so that comparing a thousand is quick.
        return (mine.models, mine.problems, mine.unreadable, *self[1:5]) == (
            others.models,
            others.problems,
            others.unreadable,
            *other[1:5],
        )


class Reconciler:
    """Polls the store and drives the manager. The event loop's thread only, apart from the look itself."""

    def __init__(
        self,
        store: ModelStore,
        names: LiveNames,
        manager: Manager[Runner],
        policy: VersionPolicy,
        *,
        routes_file: Path | None = None,
        on_table: Callable[[str], None] = lambda outcome: None,
        on_look: Callable[[str], None] = lambda outcome: None,
        warm: Warm | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a reconciler that has not looked yet.

        Args:
            store: the single source of truth.
            names: told what the store has, and given each new view.
            manager: performs the loading.
            policy: which versions to load besides those that labels and routes name.
            routes_file: a route table to use in place of the store's.
            on_table: told `ok` or `refused` whenever a new table is.
            on_look: told `ok` or `failed` of every look that `poll` takes.
            warm: keeps what labels and routes leave for a while; None for not at all.
            clock: seconds, monotonic.
        """
        self._warm = warm or Warm(0.0)
        self._clock = clock
        self._cooling: asyncio.TimerHandle | None = None
        self._store = store
        self._names = names
        self._manager = manager
        self._policy = policy
        self._tables = Tables(store, routes_file)
        self._on_table = on_table
        self._on_look = on_look
        self._look: Look | None = None
        self._problems: Mapping[str, tuple[str, ...]] = {}
        self._store_problem = ""
        self._starting = True
        self._refused = ""
        self._waiting = ""
        self._is_waiting = True
        """Whether a version that becomes available, or fails, may change what is served."""
        self._advance_due = False
        self._looking = asyncio.Lock()
        self._late: asyncio.Task[None] | None = None
        """A look that takes too long."""
        self.table_problem = ""
        """Why the table in the store is not the one being served; empty when it is."""
        self.left_out: Mapping[str, str] = {}
        """Why what was decided about a route is not in force, by its name."""
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have *listener* called whenever `table_problem` has changed."""
        self._listeners.append(listener)

    @property
    def table_missing(self) -> str:
        """Why no route table is being served where one is expected; empty where one is, or none is expected.

        One is expected where a file is named for it, and where the store has one or had one.
        """
        return self.table_problem if self._names.table is EMPTY else ""

    @property
    def reads_elsewhere(self) -> bool:
        """Whether the route table comes from a file outside the store."""
        return self._tables.file is not None

    # ------------------------------------------------------------ looking

    async def look(self) -> None:
        """Look at the store once, and act on what is there.

        Raises:
            StoreError: it cannot be read; everything stays as it is.
        """
        # A caller who gives up must not let the next one look at the same time: the store's eyes are not thread-safe.
        task = self._late  # nothing is gained by more who wait for the same
        if task is None or task.done():
            task = asyncio.ensure_future(self._look_and_act())
        done, _ = await asyncio.wait([task], timeout=LOOK_S)
        if not done:
            self._late = task
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise StoreError(f"a look at the store has taken more than {LOOK_S:g} s and is still under way")
        task.result()

    async def first_look(self) -> None:
        """Look at the store for as long as it takes: a gateway that has none yet has nothing to go on serving.

        That it has not ended yet is logged again and again.

        Raises:
            StoreError: it cannot be read.
        """
        task, began = asyncio.ensure_future(self._look_and_act()), time.monotonic()
        while not (await asyncio.wait([task], timeout=LOOK_S))[0]:
            _log.warning("the store is still being looked at", for_s=round(time.monotonic() - began))
        task.result()

    async def _look_and_act(self) -> None:
        async with self._looking:
            look = await asyncio.to_thread(self._timed_look)
        known = self._names.models
        if known and not look.snapshot.models:
            raise StoreError("every model has gone at once, as when a volume is not mounted")
        before, self._look = self._look, look
        if before is not None and not self._is_waiting and look.shows_as(before):
            return
        for model, state in look.snapshot.models.items():
            if model not in look.snapshot.unreadable or model not in known:
                known[model] = state
        for model in known.keys() - look.snapshot.models.keys() - look.snapshot.unreadable:
            del known[model]
        if look.snapshot.problems != self._problems:
            for name, problems in look.snapshot.problems.items():
                if problems != self._problems.get(name):
                    _log.warning("model has problems", model=name, problems=list(problems))
            self._problems = look.snapshot.problems
        self.advance()

    async def poll(self, every_s: float) -> None:
        """Look again and again, until cancelled; a store that cannot be read for a while changes nothing.

        A store so large that this would take more than a hundredth of a core is looked at more seldom.
        """
        while True:
            took_s = 0.0 if self._look is None else self._look.took_s
            await asyncio.sleep(max(every_s, took_s / _SHARE))
            try:
                await self.look()
                self._on_look("ok")
            except TurnoutError as error:
                self._on_look("failed")
                if error.message != self._store_problem:
                    self._store_problem = error.message
                    place = error.place if isinstance(error, StoreError) else ""
                    problem = f"{error.message} ({place})" if place else error.message
                    _log.error("the store cannot be read; what is loaded goes on serving", problem=problem)
            except Exception:
                self._on_look("failed")
                _log.exception("looking at the store failed; what is loaded goes on serving")
            else:
                if self._store_problem:
                    self._store_problem = ""
                    _log.info("the store can be read again")

    def _timed_look(self) -> Look:
        began = time.thread_time()
        with losing_nothing():
            look = self._take_look()
        return look._replace(took_s=time.thread_time() - began)

    def _take_look(self) -> Look:
        snapshot = self._store.snapshot()
        return Look(snapshot, *self._tables.read(snapshot, self._names.table))

    async def check_table(self, text: str) -> RouteTable:
        """Check a route table as `look` would, without adopting it.

        Raises:
            InvalidRouteTableError: it would be refused.
        """
        return await asyncio.to_thread(self._tables.check, text)

    # ------------------------------------------------------------ acting

    def version_changed(self) -> None:
        """A version's state has changed: see, once the manager is done with what it is doing, what that allows."""
        if self._is_waiting and not self._advance_due:
            self._advance_due = True
            # Of a thousand models that wait one after the other becomes available, and each is looked at each time.
            crowd = max(0, len(self._names.models) - _FEW) * _REST_S
            asyncio.get_running_loop().call_later(crowd, self._advance_later)

    def _advance_later(self) -> None:
        self._advance_due = False
        self.advance()

    def advance(self) -> None:
        """Swap the view if what it waits for is available, and state the wish."""
        look = self._look
        if look is None:
            return
        names, candidate = self._names, look.table
        table, problem, waiting = names.table, look.problem, ""
        labels = effective_labels(names.labels, names.view.labels, selectors(table), self._manager.is_available)
        if candidate is None:
            if not problem and (table is not EMPTY or look.snapshot.had_routes):
                problem = "the route table is gone; write one without routes to stop serving them"
        elif candidate.revision != table.revision:
            # When the process starts nothing is served yet that could be lost by adopting what is there.
            if not self._starting:
                waiting, problem = self._obstacles(candidate, labels)
            if not waiting and not problem:
                table = candidate
        if table is names.table:
            table = self._decided(look.meanwhile, labels)
        # What was wrong from the start, and is mended, is met as it would have been then.
        self._starting = self._starting and problem != "" and table is EMPTY
        if table is not names.table or labels != names.view.labels:
            before = names.table
            names.view = View(table, labels)
            if table is not before:
                said = changes(listed(before), listed(table))
                _log.info(
                    "route table adopted",
                    routes=[route.name for route in table],
                    digest=table.digest,
                    changes=said
                    if len(said) <= MOST_SAID
                    else [*said[:MOST_SAID], f"and {len(said) - MOST_SAID} more"],
                    **authorship(before, table, look.author, self._tables.file),
                )
                self._on_table("ok")
        self._note_problem(problem, waiting)
        self._note_left_out(look.left_out)
        self._is_waiting = self.table_problem != "" or labels != names.labels
        wanted = selectors(table)
        if candidate is not None:
            for model, more in selectors(candidate).items():
                wanted.setdefault(model, set()).update(more)
        suspended = names.suspended
        wish = aspired(names.versions, names.labels, wanted, self._policy, suspended)
        in_use = frozenset(key for key in names.view.in_use() if key.model not in suspended)
        self._manager.aspire(wish, in_use | self._kept_warm(in_use, wish, suspended))

    def _kept_warm(
        self, in_use: frozenset[VersionKey], wish: frozenset[VersionKey], suspended: frozenset[str]
    ) -> frozenset[VersionKey]:
        """Return what stays loaded though nothing names it any more, and see to it that it goes in time.

        Nobody can go back to what the store has no more.
        """
        now = self._clock()
        self._warm.follow(in_use, now)
        ends = {
            key: end
            for key, end in self._warm.ends(now).items()
            if key.model not in suspended
            and key.version in self._names.stored(key.model)
            and self._manager.is_available(key)
        }
        self._names.warm = {key: end for key, end in ends.items() if key not in wish}
        if self._cooling is not None:
            self._cooling.cancel()
            self._cooling = None
        if ends:
            self._cooling = asyncio.get_running_loop().call_later(min(ends.values()) - now, self.advance)
        return frozenset(ends)

    def make_room(self, key: VersionKey, needed: int, free: int) -> None:
        """Give up what is kept warm, what was left first, where a version that is to be loaded needs its memory.

        Args:
            key: what is to be loaded.
            needed: what that takes, in bytes.
            free: what there is, in bytes.
        """
        given_up = self._warm.yield_to(needed, free, self._size_of)
        if given_up:
            _log.info(
                "versions kept warm make room",
                versions=[str(one) for one in given_up],
                loading=str(key),
                needed_mb=needed >> 20,
                free_mb=free >> 20,
            )
            self.advance()

    def _size_of(self, key: VersionKey) -> int:
        runner = self._manager.peek(key)
        return 0 if runner is None else size_of(runner.manifest)

    def _note_problem(self, problem: str, waiting: str) -> None:
        changed, self.table_problem = self.table_problem != (problem or waiting), problem or waiting
        if problem and problem != self._refused:
            is_first = self._names.table is EMPTY
            instead = "there is none before it" if is_first else "the one before it is"
            _log.warning(f"the store's route table is not being served; {instead}", problem=problem)
            self._on_table("refused")
        if waiting and waiting != self._waiting and not self._refused:
            _log.info("the store's route table waits for its versions", waiting=waiting)
        # What is tried again, and fails again, is the same refusal.
        if problem or not waiting:
            self._refused = problem
        self._waiting = waiting
        if changed:
            for listener in self._listeners:
                listener()

    def _note_left_out(self, left_out: Mapping[str, str]) -> None:
        before, self.left_out = self.left_out, left_out
        for route, problem in left_out.items():
            if problem != before.get(route):
                _log.warning("what was decided about a route is not in force", route=route, problem=problem)

    def _decided(self, meanwhile: RouteTable | None, labels: Labels) -> RouteTable:
        """Return the table that serves, with what was decided about its routes, though another table may wait."""
        served = self._names.table
        if meanwhile is None or meanwhile.digest != served.digest or meanwhile.revision == served.revision:
            return served
        return served if any(self._obstacles(meanwhile, labels)) else meanwhile

    def _obstacles(self, table: RouteTable, labels: Labels) -> Obstacles:
        names = self._names
        return obstacles(table, names.table, labels, self._manager.status_of, names.suspended)

    async def settle(self) -> None:
        """Wait until every wished version has been loaded or has failed.

        Not until all have at one moment: of many that fail, some are always being tried again.
        """
        while not self._manager.tried:
            await self._manager.wait_changed()
