"""Places in a document, as errors name them: `$.targets[1].weight`."""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_SHOWN_CHARACTERS = 80


def resolve(place: str, document: Any) -> Any:
    """Return what stands at *place* (`$.targets[1].weight`), as far as the path can be followed."""
    for key, index in _STEP.findall(place):
        try:
            document = document[key] if key else document[int(index)]
        except (KeyError, IndexError, TypeError):
            break
    return document


def shown(found: Any) -> str:
    """Return what was found as text that is not too long."""
    text = repr(found)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
