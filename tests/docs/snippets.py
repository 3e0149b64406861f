"""What pages show: their code blocks, what is to be done with each, and whether an output is the one that is shown.

A block's first line says what it is, and after that what the tests do with it:

    ```console run          commands after `$ `, and what each prints; in order, the whole page in one folder
    ```python run           run in the page's one namespace; a ```text block after it is what it prints
    ```python file=PATH     the text of a file of the repository
    ```sh skip=WHY          not run: it takes what tests don't have, a container say, or never ends

In an output `...` is anything, and a number with a fraction is right within a thousandth, since processors round
differently. Blocks of other languages are to be read.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUN_LANGUAGES = frozenset({"console", "sh", "python"})
_FENCE = re.compile(r"^```(\S+)?([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")
_HEREDOC = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Block:
    """One block of a page."""

    page: Path
    line: int
    """Where it begins, from 1."""
    language: str
    does: str
    """`run`, `file=...`, `skip=...`, or empty."""
    text: str

    @property
    def place(self) -> str:
        """PAGE:LINE."""
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Step:
    """One command, and what it prints."""

    command: str
    output: str


def blocks(page: Path) -> Iterator[Block]:
    """Return every block of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[1] or "", found[2].strip(), found[3])


def steps(text: str) -> Iterator[Step]:
    """Return a console block's commands: each begins after `$ ` and ends where its quotes and its document do."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].startswith("$ "):
            raise ValueError(f"an output without a command: {lines[at]!r}")
        command, at = lines[at][2:], at + 1
        while at < len(lines) and _is_open(command):
            command, at = f"{command}\n{lines[at]}", at + 1
        output = []
        while at < len(lines) and not lines[at].startswith("$ "):
            output.append(lines[at])
            at += 1
        yield Step(command, "\n".join(output))


def _is_open(command: str) -> bool:
    if (document := _HEREDOC.search(command)) is not None:
        return not command.endswith(f"\n{document[1]}")
    if command.endswith("\\"):
        return True
    try:
        shlex.split(command)
    except ValueError:
        return True
    return False


def agrees(shown: str, printed: str) -> bool:
    """Say whether *printed* is what a page shows; spaces count as one, and none at a line's ends count."""
    shown, printed = _tidy(shown), _tidy(printed)
    pattern, numbers = "", []
    for index, piece in enumerate(re.split(rf"({_NUMBER.pattern}|\.\.\.)", shown)):
        if index % 2 == 0:
            pattern += re.escape(piece)
        elif piece == "...":
            pattern += ".*?"
        else:
            pattern += f"({_NUMBER.pattern})"
            numbers.append(float(piece))
    found = re.fullmatch(pattern, printed, re.DOTALL)
    return found is not None and all(
        math.isclose(float(one), wanted, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        for one, wanted in zip(found.groups(), numbers, strict=True)
    )


def _tidy(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
