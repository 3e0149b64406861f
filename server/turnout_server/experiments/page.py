"""The report of an analysis: one HTML page that needs no network. Pure.

It says first what the experiment comes to, then whether to believe it, then shows the numbers, and last how to find
them oneself. The same findings make the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from turnout_server.experiments import figures, markup, words
from turnout_server.experiments.checks import checks
from turnout_server.experiments.findings import Findings
from turnout_server.experiments.markup import escaped

_ICONS = {"fine": "✓", "look": "!", "wrong": "✗"}


def render(found: Findings) -> str:
    """Return the page.

    Raises:
        ValueError: the findings don't say what they were made of.
    """
    if not found.digests or not found.sql or not found.definition:
        raise ValueError(f"the findings of {found.experiment} lack digests, SQL or the definition; expected all three")
    title = f"{found.experiment}: {', '.join(sorted({each.verdict for each in found.verdicts}))}"
    return markup.document(title, _parts(found))


def _parts(found: Findings) -> Iterator[str]:
    yield f"<h1>{escaped(found.experiment)}</h1>\n"
    if found.question:
        yield markup.text(found.question)
    yield from _verdicts(found)
    yield markup.text(_circumstances(found))
    yield markup.section("Whether to believe it", _belief(found))
    yield markup.section("What differs", figures.effects(found))
    yield markup.section("How it came about, day by day", figures.sequence(found))
    yield markup.section("Units and their split", figures.days(found), figures.splits(found))
    yield markup.section("Epoch by epoch", figures.epochs(found))
    yield markup.section("The first week, and later", figures.novelty(found))
    yield markup.section("What covariates explain", figures.covariates(found))
    yield markup.section("The definition", markup.verbatim(definition(found.definition)))
    if found.added:
        yield markup.section("What was added after the start", markup.verbatim(_added(found)))
    yield markup.section("Where it comes from", *_origin(found))


def _verdicts(found: Findings) -> Iterator[str]:
    for each in found.verdicts:
        said = escaped(words.said(found, each))
        yield f"<p class={markup.quoted(f'verdict {each.verdict}')}><strong>{escaped(each.verdict)}</strong> {said}\n"


def _circumstances(found: Findings) -> str:
    return (
        f"As of {words.moment(found.as_of)}. Route {found.route}; units entered from {words.moment(found.start)} to "
        f"{words.moment(found.stop)}; {found.method} analysis at alpha {found.alpha:g}, planned for "
        f"{found.planned_units:,} units."
    )


def _belief(found: Findings) -> str:
    lines = (
        f"<li><b class={each.weight}>{_ICONS[each.weight]} {each.weight}</b> "
        f"<span>{escaped(each.subject)}</span> <span>{escaped(each.said)}</span>\n"
        for each in checks(found)
    )
    return f"<ul class=checks>\n{''.join(lines)}</ul>\n"


def definition(asked: dict[str, Any]) -> str:
    """Return a definition as JSON, which is YAML too, less what it leaves open; read again, it has the same digest."""
    return msgspec.json.format(msgspec.json.encode(_known(asked)), indent=2).decode()


def _known(asked: Any) -> Any:
    if isinstance(asked, dict):
        return {key: _known(value) for key, value in asked.items() if value is not None}
    return [_known(each) for each in asked] if isinstance(asked, list | tuple) else asked


def _added(found: Findings) -> str:
    return msgspec.json.format(msgspec.json.encode(_known(msgspec.to_builtins(found.added))), indent=2).decode()


def _origin(found: Findings) -> Iterator[str]:
    rows = [
        ("as of", found.as_of.isoformat()),
        ("definition", found.definition_digest),
        *sorted(found.digests.items()),
        ("format of the findings", str(found.format)),
    ]
    yield markup.table("SHA-256 of what was read, and of what was asked", ("of", "is"), rows, words=("is",))
    yield markup.text("Every number above can be found by these statements, over the views records and outcomes.")
    yield markup.folded("SQL", markup.verbatim(found.sql))
