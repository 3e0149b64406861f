"""How an experiment goes as Prometheus text, for who collects metrics from files. Pure.

A gateway cannot say it: whether a unit is new only the fleet's journal knows, and requests are no units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from turnout_server.experiments.findings import Findings


class _Gauge(NamedTuple):
    name: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], float]]


def render(found: Findings) -> str:
    """Return the lines for one experiment; its name and its arms are the only labels beside the route's."""
    return "".join(f"{line}\n" for gauge in _gauges(found) for line in _lines(gauge))


def _gauges(found: Findings) -> Iterator[_Gauge]:
    which = {"experiment": found.experiment, "route": found.route}
    sound = found.soundness
    units = dict.fromkeys((arm.name for arm in sound.losses), 0)
    for split in sound.epochs:
        for arm, count in zip(split.arms, split.units, strict=True):
            units[arm] += count
    if sound.srm_e is not None:
        yield _Gauge("srm_e_value", _E_VALUE, [(which, sound.srm_e)])
    yield _Gauge("units", _UNITS, [({**which, "arm": arm}, count) for arm, count in units.items()])
    yield _Gauge("exposures", _EXPOSURES, [({**which, "arm": arm.name}, arm.kept) for arm in sound.losses])
    yield _Gauge("exposures_lost", _LOST, [({**which, "arm": arm.name}, arm.lost) for arm in sound.losses])
    yield _Gauge("as_of_seconds", _AS_OF, [(which, found.as_of.timestamp())])


def _lines(gauge: _Gauge) -> Iterator[str]:
    name = f"turnout_experiment_{gauge.name}"
    yield f"# HELP {name} {gauge.help}"
    yield f"# TYPE {name} gauge"
    for labels, value in gauge.samples:
        pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{{{pairs}}} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_E_VALUE = "Evidence against the split, of units' first exposures, right at every look; 1000 is a mismatch."
_UNITS = "Units by the arm of their first exposure."
_EXPOSURES = "Exposures in the journal."
_LOST = "Exposures that the journal lost, as far as it is known whose they were."
_AS_OF = "What was known at this time, in seconds since the epoch."
