"""What names mean in this process now: the view, what the store has, and what is available."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from turnout_server.execution.runner import Runner
from turnout_server.routing.table import RouteTable
from turnout_server.routing.view import View
from turnout_server.serving.manager import Manager
from turnout_server.serving.state import State, VersionStatus
from turnout_server.store.snapshot import ModelState
from turnout_server.vocabulary.versions import Labels, VersionKey

UNLOADED = "an operator unloaded the model"
"""Why nothing of a model is loaded, though the store has it."""


class LiveNames:
    """Implements `turnout_server.routing.decide.Names`. The event loop's thread only.

    The reconciler writes it; everybody else reads.
    """

    def __init__(self, manager: Manager[Runner], clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet but what *manager* has loaded."""
        self._manager = manager
        self._clock = clock
        self.warm: Mapping[VersionKey, float] = {}
        """What nothing names any more and stays loaded for a while, and until when, by the clock."""
        self.models: dict[str, ModelState] = {}
        """The store's models, as last seen."""
        self._view = View()
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have *listener* called whenever the view has been swapped."""
        self._listeners.append(listener)

    @property
    def view(self) -> View:
        """The routes and labels that are being served."""
        return self._view

    @view.setter
    def view(self, view: View) -> None:
        self._view = view
        for listener in self._listeners:
            listener()

    # ------------------------------------------------------------ what deciding needs

    @property
    def table(self) -> RouteTable:
        """The route table that is being served."""
        return self.view.table

    def key_of(self, model: str, selector: int | str) -> VersionKey | None:
        """Return the version that a number or a label stands for; None for a label that is gone."""
        return self.view.key_of(model, selector)

    def epoch_of(self, route: str) -> str:
        """Return the digest of what is constant in an epoch of *route*; see `View.epoch_of`."""
        return self.view.epoch_of(route)

    def stored(self, model: str) -> Sequence[int]:
        """Return the versions that the store has of *model*, ascending; empty when there is no such model."""
        state = self.models.get(model)
        return () if state is None else state.versions

    def newest(self, model: str) -> int:
        """Return the newest version of *model* that is available; 0 when there is none."""
        return self._manager.latest(model)

    def is_available(self, key: VersionKey) -> bool:
        """Say whether a version can be leased now."""
        return self._manager.is_available(key)

    def state_of(self, key: VersionKey) -> str:
        """Say where a version that is not available is, in words."""
        status = self.status_of(key)
        return f"{status.state.value} ({status.detail})" if status.detail else status.state.value

    def status_of(self, key: VersionKey) -> VersionStatus:
        """Return where a version is; STORED, and why where there is a reason, for one that nothing asks for."""
        status = self._manager.status_of(key)
        if status is not None:
            end = self.warm.get(key)
            if end is None or status.detail:
                return status
            return status._replace(detail=f"kept warm for another {max(0.0, end - self._clock()):.0f} s")
        model = self.models.get(key.model)
        return VersionStatus(key, State.STORED, UNLOADED if model is not None and model.suspended else "")

    # ------------------------------------------------------------ what the store has

    def stored_labels(self, model: str) -> Mapping[str, int]:
        """Return the labels that the store has of *model*."""
        state = self.models.get(model)
        return {} if state is None else state.labels

    def stored_models(self) -> Collection[str]:
        """Return the names of the store's models."""
        return self.models.keys()

    @property
    def suspended(self) -> frozenset[str]:
        """The models that an operator has unloaded: the store says so, to every gateway on it."""
        return frozenset(model for model, state in self.models.items() if state.suspended)

    @property
    def versions(self) -> dict[str, tuple[int, ...]]:
        """The store's versions, by model."""
        return {model: state.versions for model, state in self.models.items()}

    @property
    def labels(self) -> Labels:
        """The store's labels, by model."""
        return {model: state.labels for model, state in self.models.items()}
