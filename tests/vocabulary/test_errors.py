"""Reasons are a promise to callers."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from tests.tables import check_all
from turnout_server.transport.status import CODES
from turnout_server.vocabulary.errors import (
    MOST_NAMED,
    IncompleteError,
    InvalidInputError,
    Kind,
    MissingFeatureError,
    TurnoutError,
    UnknownFeatureError,
    UnknownOutputError,
)

RAISING = ("transport.gate", "transport.grpcio", "rpc.health", "rpc.open_inference.shared_memory", "transport.values")
for module in RAISING:
    importlib.import_module(f"turnout_server.{module}")

DOCUMENT = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
DOCUMENTED = {
    reason: cells[1].strip()
    for line in DOCUMENT.splitlines()
    if line.startswith("| ") and len(cells := line.split("|")) == 6
    for reason in re.findall(r"`([A-Z_]+)`", cells[2])
}


OF_THE_ENGINE = {"MEMORY_FULL": "RESOURCE_EXHAUSTED"}
"""Reasons that no class of Python's has, with their codes."""


def family(root: type[TurnoutError]) -> Iterator[type[TurnoutError]]:
    yield root
    for child in root.__subclasses__():
        # What only the command line raises never gets to a caller.
        if child.__module__.startswith("turnout_server.") and not child.__module__.startswith(
            (
                "turnout_server.experiments.",
                "turnout_server.journal.",
                "turnout_server.outcomes.databases",
                "turnout_server.sources.",
            )
        ):
            yield from family(child)


ERRORS = sorted(set(family(TurnoutError)), key=lambda error: error.__name__)


def test_every_reason_is_documented_with_its_code() -> None:
    def check(name: str, error: type[TurnoutError]) -> None:
        assert DOCUMENTED.get(error.reason) == CODES[error.kind].name, error.reason

    check_all([(error.__name__, error) for error in ERRORS], check)


def test_no_reason_is_documented_that_nobody_raises() -> None:
    assert set(DOCUMENTED) == {error.reason for error in ERRORS} | set(OF_THE_ENGINE)


def test_the_engines_own_reasons_are_documented_with_their_codes() -> None:
    source = (Path(__file__).parents[2] / "engine" / "src" / "error.rs").read_text(encoding="utf-8")
    for reason, code in OF_THE_ENGINE.items():
        assert DOCUMENTED[reason] == code
        assert f'"{reason}"' in source


def test_a_message_names_many_and_counts_the_rest() -> None:
    names = [f"x{number}" for number in range(20)]
    assert InvalidInputError.missing(names[:3]).message == "input 'x0': is missing, as are 'x1', 'x2'"
    assert InvalidInputError.missing(names).message.endswith("'x16' and 3 more")


def test_every_message_names_as_many() -> None:
    names = [f"f{number:02}" for number in range(40)]
    for error in (
        InvalidInputError.missing(["first", *names]),
        IncompleteError(dict.fromkeys(names, "FP32"), {}),
        UnknownFeatureError("x", tuple(names)),
        UnknownOutputError("x", tuple(names)),
        MissingFeatureError(*names),
    ):
        assert (f"f{MOST_NAMED - 1:02}" in error.message, f"f{MOST_NAMED:02}" in error.message) == (True, False), error


def test_reasons_name_one_error_each() -> None:
    assert len({error.reason for error in ERRORS}) == len(ERRORS)


def test_every_kind_has_a_code() -> None:
    assert set(CODES) == set(Kind)
