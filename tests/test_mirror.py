"""Tests mirror the tree: `server/turnout_server/routing/split.py` is tested in `tests/routing/test_split.py`.

The client's modules are tested in `tests/client/`; `test_wire.py` is for `_wire.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MIRRORED = {"server/turnout_server": "tests", "clients/python/turnout": "tests/client"}
GENERATED = ("*_pb2.py", "*_pb2_grpc.py")

WITHOUT_BEHAVIOUR = {
    "server/turnout_server/engine/tracing.py": "values",
    "server/turnout_server/experiments/findings.py": "values",
    "server/turnout_server/journal/schema.py": "names and types",
    "server/turnout_server/load/stubs.py": "one import",
    "server/turnout_server/outcomes/schema.py": "names and types",
    "server/turnout_server/serving/state.py": "values",
    "server/turnout_server/sources/conversation.py": "values",
    "server/turnout_server/transport/call.py": "a protocol",
    "server/turnout_server/transport/method.py": "a protocol",
    "server/turnout_server/vocabulary/attributes.py": "names",
    "server/turnout_server/vocabulary/decision.py": "values",
    "server/turnout_server/vocabulary/query.py": "values",
    "server/turnout_server/vocabulary/task.py": "names",
}

TESTED_ELSEWHERE = {
    # The steps of one analysis: test_study.py tries each rule from the journal to the verdict.
    "server/turnout_server/experiments/analysis.py",
    "server/turnout_server/experiments/belief.py",
    "server/turnout_server/experiments/compare.py",
    "server/turnout_server/experiments/evidence.py",
    "server/turnout_server/experiments/quantile.py",
    "server/turnout_server/experiments/split.py",
    "server/turnout_server/experiments/timeline.py",
    # Unary calls and streams have a file each: test_engine_unary.py, test_engine_streams.py.
    "server/turnout_server/transport/engine_calls.py",
    "server/turnout_server/onnx/binding.py",  # a session like the engine's: test_session.py tries both
    "server/turnout_server/rpc/open_inference/admin.py",  # the servicer has it as its base: test_servicer.py
}


def modules() -> Iterator[tuple[str, Path]]:
    """Return every module that people wrote, and where its tests belong."""
    for package, tests in MIRRORED.items():
        for module in sorted((ROOT / package).rglob("*.py")):
            if module.name.startswith("__") or any(module.match(pattern) for pattern in GENERATED):
                continue
            beside = module.parent.relative_to(ROOT / package)
            yield str(module.relative_to(ROOT)), ROOT / tests / beside / f"test_{module.stem.lstrip('_')}.py"


def test_every_module_has_a_test_file_of_its_name() -> None:
    exempt = WITHOUT_BEHAVIOUR.keys() | TESTED_ELSEWHERE
    missing = [
        f"{module}: no {place.relative_to(ROOT)}"
        for module, place in modules()
        if module not in exempt and not place.exists()
    ]
    assert not missing, "\n" + "\n".join(missing)


def test_what_is_exempt_is_there_and_has_no_test_file() -> None:
    places = dict(modules())
    exempt = sorted(WITHOUT_BEHAVIOUR.keys() | TESTED_ELSEWHERE)
    stale = [module for module in exempt if module not in places or places[module].exists()]
    assert not stale, "no longer to be exempt:\n" + "\n".join(stale)
