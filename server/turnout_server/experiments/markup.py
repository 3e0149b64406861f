"""HTML, piece by piece: every text is escaped here, and end tags that may be left out are. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What no page may hold, or no file."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def escaped(text: str) -> str:
    """Return *text* so that it means itself between tags."""
    return html.escape(_printable(text), quote=False)


def quoted(text: str) -> str:
    """Return *text* as an attribute's value, quotes included."""
    return f'"{html.escape(_printable(text))}"'


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text)


def document(title: str, body: Iterable[str]) -> str:
    """Return a whole page, which asks nobody for anything and runs nothing.

    Args:
        title: as text.
        body: as HTML.
    """
    style = (resources.files("turnout_server.experiments") / "page.css").read_text(encoding="utf-8")
    head = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{style}</style>\n"
    )
    return f"{head}<main>\n{''.join(body)}</main>\n</html>\n"


def section(title: str, *body: str) -> str:
    """Return a part of a page: a title as text, the rest as HTML."""
    return f"<section>\n<h2>{escaped(title)}</h2>\n{''.join(body)}</section>\n"


def text(words: str) -> str:
    """Return a paragraph."""
    return f"<p>{escaped(words)}\n"


def listing(items: Iterable[str]) -> str:
    """Return a list of texts; nothing if there are none."""
    inner = "".join(f"<li>{escaped(each)}\n" for each in items)
    return f"<ul>\n{inner}</ul>\n" if inner else ""


def verbatim(words: str) -> str:
    """Return a text with its own lines, which can be scrolled."""
    return f"<pre tabindex=0>{escaped(words)}</pre>\n"


def folded(title: str, body: str) -> str:
    """Return what is shown when asked for: a title as text, the rest as HTML."""
    return f"<details>\n<summary>{escaped(title)}</summary>\n{body}</details>\n"


def beside(plots: Iterable[str], table: str) -> str:
    """Return plots and the table of what they show, next to each other where there is room."""
    return f"<div class=beside>\n<div>{''.join(plots)}</div>\n{table}</div>\n"


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | None]],
    *,
    heads: int = 1,
    words: Sequence[str] = (),
    tall: bool = False,
) -> str:
    """Return a table that can be scrolled.

    Args:
        caption: says what of.
        columns: their names.
        rows: of texts; None is the text above it, of which there is one for both then.
        heads: how many columns, from the left, say what a row is of.
        words: the columns that are read, and not compared digit by digit.
        tall: show all rows at once.
    """
    read = [index < heads or each in words for index, each in enumerate(columns)]
    kinds = ["th" if index < heads else "td class=w" if each else "td" for index, each in enumerate(read)]
    top = "".join(
        ("<th class=w>" if each else "<th>") + escaped(name) for name, each in zip(columns, read, strict=True)
    )
    body = "".join(f"<tr>{line}\n" for line in _lines(kinds, list(rows)))
    name = quoted(caption)
    kind = '"scroll tall"' if tall else "scroll"
    return (
        f"<div class=table>\n<p>{escaped(caption)}\n<div class={kind} tabindex=0 role=group aria-label={name}>\n"
        f"<table aria-label={name}>\n<thead><tr>{top}<tbody>\n{body}</table></div></div>\n"
    )


def _lines(kinds: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Iterator[str]:
    spans = [1] * len(kinds)
    lines: list[str] = []
    for row in reversed(rows):
        cells = []
        for index, (kind, cell) in enumerate(zip(kinds, row, strict=True)):
            if cell is None:
                spans[index] += 1
                continue
            wide = f" rowspan={spans[index]}" if spans[index] > 1 else ""
            cells.append(f"<{kind}{wide}>{escaped(cell)}")
            spans[index] = 1
        lines.append("".join(cells))
    return reversed(lines)


def figure(plot: str, caption: str, key: str = "") -> str:
    """Return a plot with what it shows, as text, and its key, as HTML."""
    return f"<figure>\n{plot}\n{key}<figcaption>{escaped(caption)}</figcaption>\n</figure>\n"
