"""The page that shows the table: `docs/conformance.md`."""

from __future__ import annotations

from pathlib import Path

from tests.conformance import compression, exchange, framing, grpc_calls
from tests.conformance.case import PLANES, Case, Chapter

PAGE = Path(__file__).parents[2] / "docs/conformance.md"
CHAPTERS = (framing.CHAPTER, exchange.CHAPTER, compression.CHAPTER, grpc_calls.CHAPTER)
TITLES = {"engine": "The engine", "grpcio": "grpcio"}
INTRODUCTION = """\
# Conformance

What Turnout's two data planes make of what clients may send: HTTP/2 (RFC 9113), its header compression (RFC 7541),
and gRPC over HTTP/2. Every row is a case that CI sends to both planes over a socket, frame by frame, and compares with
what stands here. `python -m tests.conformance` writes this page from the cases in `tests/conformance/`, and a test
fails where it is not what they say.

**Bold** is an answer that the document does not have.
{counts}

The portable plane is grpcio's own server: what stands under its name is grpcio's doing, and may change with its
version. It does not take calls without `:authority`. The engine stands on the h2 crate, which has PROTOCOL_ERROR for
most errors where RFC 9113 names a code for each; the connection ends either way.

How to read it: GOAWAY ends the connection and says why, RST_STREAM ends one stream. *Hangs up* is the end of a
connection without a word. *Goes on*: nothing comes of it, and pings and new calls on that connection are answered as
ever. Names such as OK and INTERNAL are gRPC's statuses; a stream that is reset with INTERNAL_ERROR counts as INTERNAL,
as it does for gRPC's clients. *(not said)*: the document leaves it open. After every case, no handler of its calls is
left running.
"""


def written() -> str:
    """Return the page."""
    cases = [case for chapter in CHAPTERS for case in chapter.cases]
    counts = []
    for plane in PLANES:
        conforming = sum(case.allows(case.expected(plane)) for case in cases)
        counts.append(f"{TITLES[plane]} answers {conforming} of {len(cases)} cases as the documents have it.")
    return "\n".join([INTRODUCTION.format(counts=" ".join(counts)), *(_chapter(chapter) for chapter in CHAPTERS)])


def _chapter(chapter: Chapter) -> str:
    lines = [f"## {chapter.title}", ""]
    lines += ["| Section | Case | The rule | The engine | grpcio |", "|---|---|---|---|---|"]
    lines += [_row(case) for case in chapter.cases]
    return "\n".join([*lines, ""])


def _row(case: Case) -> str:
    cells = [case.section, _escaped(case.name), " or ".join(_escaped(rule) for rule in case.rules)]
    for plane in PLANES:
        answer = _escaped(case.expected(plane))
        cells.append(answer if case.allows(case.expected(plane)) else f"**{answer}**")
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Return *text* as Markdown has it in a table."""
    for special in "\\`*_{}[]<>|#":
        text = text.replace(special, f"\\{special}")
    return text
