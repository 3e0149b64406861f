"""All targets in Python, by name. None needs a fuzzer: the tests try the corpus with each."""

from __future__ import annotations

from collections.abc import Mapping

from fuzz import calls, documents, studies
from fuzz.source import Target

TARGETS: Mapping[str, Target] = {**documents.TARGETS, **calls.TARGETS, **studies.TARGETS}
