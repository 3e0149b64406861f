"""Write golden_vectors.json, once: what is in it is a promise to every client in every language.

Run it only for a new file; the test compares the code with the file, never the other way round.
"""

import json
from pathlib import Path
from typing import Any

from turnout_server.routing.enrolment import BUCKET, ENROLMENT, HOLDOUT, Gate
from turnout_server.routing.layer import Layer
from turnout_server.routing.route import BUCKETS, Experiment, Route, Target
from turnout_server.routing.split import pick, uniform

UNITS = ["", "0", "customer-17", "Ünïcødé", "日本語", "a" * 300, "tab\tand\nnewline", "😀"]
SPLITS = {
    "half": {"a": 50.0, "b": 50.0},
    "canary": {"control": 90.0, "canary": 10.0},
    "three": {"a": 70.0, "b": 20.0, "c": 10.0},
    "zero": {"a": 1.0, "off": 0.0, "b": 0.5},
}

USERS = [*UNITS, *(f"user-{number}" for number in range(40))]
LAYER = Layer("checkout-2026", 0.2)
EXPERIMENTS = (
    (Experiment("alone", "control", enrolment=0.5), None),
    (Experiment("all", "control"), None),
    (Experiment("none", "control", enrolment=0.0), None),
    (Experiment("half", "control", "checkout", ((0, 500),)), Layer("checkout-2026")),
    (Experiment("some", "control", "checkout", ((100, 300), (600, 1000)), 0.7), LAYER),
)


def main() -> None:
    """Write the file beside this one."""
    draws = [
        {"salt": salt, "target": target, "unit": unit, "uniform": uniform(salt, target, unit).hex()}
        for salt in ("price-2026-11", "s", "salz-ß")
        for target in ("control", "canary")
        for unit in UNITS
    ]
    picks = []
    for name, weights in SPLITS.items():
        targets = tuple(Target(arm, "m", 1, weight) for arm, weight in weights.items())
        route = Route(f"salt-{name}", targets)
        picked = {unit: pick(route, unit).name for unit in USERS}
        picks.append({"salt": route.salt, "weights": weights, "picks": picked})
    document = {
        "about": "uniform = ((XXH3-64(key, seed 0) >> 12) + 0.5) / 2^52, a C99 hexadecimal float; "
        "key = '<bytes of salt>:<salt><bytes of target>:<target><unit>' in UTF-8; "
        "picked is the target with the smallest -ln(uniform) / weight, of equal ones the first; "
        "weight 0 is never picked",
        "draws": draws,
        "splits": picks,
        "about_experiments": "holdout, bucket and enrolment are draws as above, with the salt and the name given here "
        "in the target's place; bucket = floor(uniform * 1000). A unit is kept out of an experiment, in this order, as "
        "HOLDOUT where its holdout draw < the layer's holdout, as UNENROLLED where none of buckets [from, to) has its "
        "bucket, and as UNENROLLED where not its enrolment draw < enrolment; null takes part, and is split as above. "
        "Holdout and bucket have the layer's salt, enrolment the route's",
        "experiment_draws": [
            {"salt": salt, "name": name, "unit": unit, "uniform": uniform(salt, name, unit).hex()}
            for salt, names in ((LAYER.salt, (HOLDOUT, BUCKET)), ("salt-canary", (ENROLMENT,)))
            for name in names
            for unit in UNITS
        ],
        "buckets": [
            {"salt": salt, "units": {unit: int(uniform(salt, BUCKET, unit) * BUCKETS) for unit in USERS}}
            for salt in (LAYER.salt, "search-2026")
        ],
        "experiments": [_experiment(experiment, layer) for experiment, layer in EXPERIMENTS],
    }
    path = Path(__file__).with_name("golden_vectors.json")
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _experiment(experiment: Experiment, layer: Layer | None) -> dict[str, Any]:
    gate = Gate("salt-canary", experiment, layer)
    reasons = {unit: gate.keeps_out(unit) for unit in USERS}
    return {
        "salt": "salt-canary",
        "experiment": {
            "name": experiment.name,
            "control": 0,
            "layer": {"name": experiment.layer, "salt": layer.salt, "holdout": layer.holdout} if layer else None,
            "buckets": experiment.buckets,
            "enrolment": experiment.enrolment,
        },
        "kept_out": {unit: reason.value if reason else None for unit, reason in reasons.items()},
    }


if __name__ == "__main__":
    main()
