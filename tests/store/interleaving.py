"""Threads of which one runs at a time, in an order that is chosen: races that can be told again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from random import Random


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
