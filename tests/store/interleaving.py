"""Threads of which one runs at a time, in an order that is chosen: races that can be told again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any


class Killed(BaseException):
    """The process of this thread died here."""


class Interleaving:
    """Runs tasks, each from one `step` to the next, in an order drawn from *random*; kills some of them."""

    def __init__(self, random: Random, watch: Callable[[], None], deaths: int = 0) -> None:
        self._random = random
        self._watch = watch
        self._deaths = deaths
        self._own = threading.local()
        self._back = threading.Semaphore(0)
        self._killed: set[int] = set()
        self._ended: set[int] = set()
        self._errors: dict[int, BaseException] = {}

    def step(self) -> None:
        """Let another task run. To be called where tasks touch what they share; outside of tasks it does nothing."""
        go: threading.Semaphore | None = getattr(self._own, "go", None)
        if go is not None:
            if self._own.number not in self._killed:
                self._back.release()
                go.acquire()
            if self._own.number in self._killed:
                raise Killed

    def run(self, tasks: Sequence[Callable[[], object]]) -> list[BaseException | None]:
        """Run all *tasks* to their ends; return what each raised. *watch* looks at what is there after every step."""
        turns = {number: threading.Semaphore(0) for number in range(len(tasks))}
        threads = [
            threading.Thread(target=self._play, args=(number, turns[number], task), daemon=True)
            for number, task in enumerate(tasks)
        ]
        for thread in threads:
            thread.start()
        doomed = self._random.sample(range(len(tasks)), self._deaths)
        alive = list(turns)
        try:
            while alive:
                number = self._random.choice(alive)
                if number in doomed and self._random.random() < 0.2:
                    self._killed.add(number)
                turns[number].release()
                self._back.acquire()
                if number in self._ended:
                    alive.remove(number)
                self._watch()
        finally:
            self._killed.update(alive)
            for number in alive:
                turns[number].release()
        for thread in threads:
            thread.join()
        return [self._errors.get(number) for number in turns]

    def _play(self, number: int, go: threading.Semaphore, task: Callable[[], object]) -> None:
        self._own.go, self._own.number = go, number
        go.acquire()
        try:
            task()
        except BaseException as error:
            self._errors[number] = error
        self._ended.add(number)
        self._back.release()


class _Script(Random):
    """Lets whoever runs go on, except where *script* says otherwise; notes which other choices there were."""

    def __init__(self, script: Sequence[int], patient: Collection[int]) -> None:
        super().__init__(0)
        self._script = script
        self._patient = patient
        self._running: int | None = None
        self.taken: list[int] = []
        self.others: list[int] = []
        self.costs: list[int] = []

    def choice(self, seq: Sequence[Any]) -> Any:
        """Choose who runs next; index 0 is who has just run, if there is more to do."""
        is_free = self._running not in seq
        others = [one for one in seq if one != self._running and (is_free or self._running in self._patient)]
        options = others if is_free else [self._running, *others]
        at = len(self.taken)
        self.taken.append(self._script[at] if at < len(self._script) else 0)
        self.others.append(len(options) - 1)
        self.costs.append(0 if is_free else 1)
        self._running = options[self.taken[at]]
        return self._running


def every_order(play: Callable[[Random], None], most: int, patient: Collection[int]) -> int:
    """Have *play* run an `Interleaving` in every order with at most *most* interruptions; return how many there are.

    Only *patient* tasks are interrupted, which are numbers. When a task has ended any other one may go on: that is no
    interruption.
    """
    scripts: list[list[int]] = [[]]
    played = 0
    while scripts:
        script = scripts.pop()
        random = _Script(script, patient)
        play(random)
        played += 1
        for at in range(len(script), len(random.taken)):
            spent = sum(cost for cost, index in zip(random.costs[:at], random.taken, strict=False) if index)
            if spent + random.costs[at] <= most:
                scripts += [[*random.taken[:at], other + 1] for other in range(random.others[at])]
    return played
