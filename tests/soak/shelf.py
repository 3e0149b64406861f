"""What the store has held so far: who may answer, as far as the one who changes the store can say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from random import Random

from tests.soak.models import MODELS, Model

LABELS = ("champion", "challenger")
"""Every model has both, at any time."""


class Route:
    """A route that every good table has, though each with other weights."""

    def __init__(self, name: str, model: Model, *, comes_and_goes: bool = False) -> None:
        self.name = name
        self.model = model
        self.comes_and_goes = comes_and_goes
        """Whether some good tables are without it."""


MIRRORED = "mirrored"
"""The route of which each answered request is copied, so that the copies can be counted."""
OVERRIDE = ("x-soak", "challenger")
"""The header that sends a request to the target of this name."""
ROUTES = {
    route.name: route
    for route in (
        *(Route(f"{name}-split", MODELS[name]) for name in ("table", "wide", "blend", "slow", "half")),
        *(Route(f"{name}-split", MODELS[name]) for name in ("price", "ranking", "recommendation")),
        Route(MIRRORED, MODELS["words"]),
        Route("sometimes", MODELS["whole"], comes_and_goes=True),
    )
}


class Shelf:
    """The versions that were published, and the labels that they have had."""

    def __init__(self) -> None:
        self.good: dict[str, list[int]] = defaultdict(list)
        """The versions that may answer, by model, ascending; those removed since included."""
        self.stored: dict[str, list[int]] = defaultdict(list)
        """Those of them that are in the store now."""
        self.broken: dict[str, set[int]] = defaultdict(set)
        """The versions that must never answer."""
        self.labels: dict[str, dict[str, int]] = defaultdict(dict)
        """Which version has which label now."""
        self.labelled: dict[tuple[str, str], set[int]] = defaultdict(set)
        """Which versions a label has ever named."""

    def next_version(self, model: str) -> int:
        """Return the number that the next version gets; there is one publisher."""
        return max([0, *self.good[model], *self.broken[model]]) + 1

    def add(self, model: str, version: int) -> None:
        """A good version is about to appear."""
        self.good[model].append(version)
        self.stored[model].append(version)

    def point(self, model: str, label: str, version: int) -> None:
        """A label is about to move."""
        self.labels[model][label] = version
        self.labelled[model, label].add(version)

    def may_answer(self, model: str, selector: str) -> Iterable[int]:
        """Return the versions that a request for *model*, with this number or label or neither, may be answered by."""
        good = self.good[model]
        if not selector:
            return good
        if selector.isdigit():
            return [version for version in good if version == int(selector)]
        return self.labelled[model, selector].intersection(good)

    def removable(self, model: str, kept: Iterable[int] = ()) -> list[int]:
        """Return the good versions that nothing needs: not the newest, no label's, and none of *kept*."""
        needed = {*self.labels[model].values(), *kept}
        return [version for version in self.stored[model][:-1] if version not in needed]


def table(random: Random, whole: bool = True) -> str:
    """Return a good route table, with random weights and a salt of its own; *whole*, or without what comes and goes."""
    key, value = OVERRIDE
    lines = ["routes:"]
    for route in ROUTES.values():
        if route.comes_and_goes and not whole:
            continue
        model = route.model.name
        lines += [
            f"  {route.name}:",
            f"    task: {route.model.task.value}",
            f"    salt: soak-{random.getrandbits(32)}",
            "    targets:",
            *(
                f"      - {{name: {label}, model: {model}, version: {label}, weight: {random.randint(1, 99)}}}"
                for label in LABELS
            ),
            f"    overrides: [{{when: {{header: {{{key}: '{value}'}}}}, target: {value}}}]",
            "    fallback: champion",
        ]
        if route.name == MIRRORED:
            lines.append(f"    mirrors: [{{model: {model}, version: challenger, fraction: 1}}]")
        elif route.name == "table-split":
            # The second one takes other inputs: its copies fail, and nobody may notice.
            lines += [
                "    mirrors:",
                f"      - {{model: {model}, version: challenger, fraction: {random.random():.2f}}}",
                "      - {model: wide, version: champion, fraction: 0.2}",
            ]
    return "\n".join(lines) + "\n"


def broken_table(random: Random) -> str:
    """Return a table that has to be refused."""
    good = table(random)
    return random.choice(
        (
            "routes: [",
            "",
            good.replace("weight:", "wait:", 1),
            good.replace("weight: ", "weight: -", 1),
            good.replace("version: challenger", "version: nobody", 1),
            good.replace("version: challenger", "version: 999999", 1),
            good.replace("model: wide", "model: nothing", 1),
            good.replace("task: price", "task: ranking", 1),
            good[: len(good) // 2] + "\n\t- ?",
        )
    )
