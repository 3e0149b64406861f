"""What the tests of the typed services share: a fake call, data plane and catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from turnout_server.routing.laying import Rollout, rollout_of
from turnout_server.routing.route import Target
from turnout_server.routing.table import EMPTY, RouteTable
from turnout_server.serving.state import State, VersionStatus
from turnout_server.store.audit import By
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.decision import Decision, Reason
from turnout_server.vocabulary.errors import ModelNotFoundError, TurnoutError, UnknownOutputError, VersionNotFoundError
from turnout_server.vocabulary.query import Prediction, Query
from turnout_server.vocabulary.record import Timing
from turnout_server.vocabulary.signature import Signature, TensorSpec
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import Array, Arrays
from turnout_server.vocabulary.versions import VersionKey

DECISION = Decision("the-route", "canary", "the-model", 7, Reason.OVERRIDE, "canary", 2)


@dataclass
class FakeCall:
    metadata: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    address: str = "127.0.0.1:1"
    principal: str = ""


class FakeDataPlane:
    """Prepares a query for one signature and answers what *run* makes of the arrays."""

    def __init__(self, signature: Signature, run: Callable[[Arrays], Mapping[str, Array]]) -> None:
        self.signature = signature
        self.run = run
        self.queries: list[Query] = []
        self.arrays: list[Arrays] = []

    async def infer(self, query: Query) -> Prediction:
        self.queries.append(query)
        arrays = query.prepare(self.signature)
        self.arrays.append(arrays)
        outputs = self.run(arrays)
        for name in query.outputs:
            if name not in outputs:
                raise UnknownOutputError(name, tuple(outputs))
        wanted = {name: outputs[name] for name in query.outputs or outputs}
        return Prediction(wanted, DECISION, "the-request", self.signature, Timing(*[0] * len(Timing._fields)))


def manifest(model: str, version: int, *inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = ()) -> Manifest:
    return Manifest(
        schema_version=1,
        model=model,
        version=version,
        task=Task.PRICE,
        created_at="2026-11-23T10:00:00Z",
        files=(),
        signature=Signature(inputs, outputs),
    )


class FakeCatalog:
    """A catalogue of what its attributes say, which records changes."""

    def __init__(self) -> None:
        self.table: RouteTable = EMPTY
        self.table_problem = ""
        self.left_out: dict[str, str] = {}
        self.statuses: list[VersionStatus] = []
        self.manifests: dict[VersionKey, Manifest | TurnoutError] = {}
        self.label_maps: dict[str, dict[str, int]] = {}
        self.serving: dict[tuple[str, int | str], int] = {}
        self.assigned = DECISION
        self.changes: list[tuple[object, ...]] = []
        self.authors: list[By] = []

    def add(
        self, one: Manifest | TurnoutError, key: VersionKey, state: State = State.AVAILABLE, detail: str = ""
    ) -> None:
        self.statuses.append(VersionStatus(key, state, detail))
        self.manifests[key] = one

    def models(self) -> tuple[str, ...]:
        return tuple(sorted({status.key.model for status in self.statuses}))

    def status(self, model: str = "") -> tuple[VersionStatus, ...]:
        return tuple(sorted((one for one in self.statuses if model in ("", one.key.model)), key=lambda one: one.key))

    def labels(self, model: str) -> Mapping[str, int]:
        return self.label_maps.get(model, {})

    def rollout(self, route: str) -> Rollout | None:
        return rollout_of(self.table, route, self.left_out.get(route, ""))

    def answers_for(self, target: Target) -> int:
        return self.serving.get((target.model, target.version), 0)

    async def manifest(self, key: VersionKey) -> Manifest:
        found = self.manifests.get(key)
        if found is None:
            raise VersionNotFoundError(*key)
        if isinstance(found, TurnoutError):
            raise found
        return found

    def assign(self, route: str, unit: str, headers: Mapping[str, str]) -> Decision:
        self.changes.append((route, unit, dict(headers)))
        return self.assigned

    async def set_label(
        self, model: str, label: str, version: int | None, expected: int | None, check: bool, by: By
    ) -> None:
        self.authors.append(by)
        if model not in self.models():
            raise ModelNotFoundError(model)
        self.changes.append((model, label, version, expected, check))
        labels = self.label_maps.setdefault(model, {})
        if version is None:
            labels.pop(label, None)
        else:
            labels[label] = version

    async def apply_routes(self, text: str, expected_digest: str, validate_only: bool, by: By) -> str:
        self.authors.append(by)
        self.changes.append((text, expected_digest, validate_only))
        return "f00d"
