"""Write golden_vectors.json, once: what is in it is a promise to every client in every language.

Run it only for a new file; the test compares the code with the file, never the other way round.
"""

import json
from pathlib import Path

from turnout_server.routing.route import Route, Target
from turnout_server.routing.split import pick, uniform

UNITS = ["", "0", "customer-17", "Ünïcødé", "日本語", "a" * 300, "tab\tand\nnewline", "😀"]
SPLITS = {
    "half": {"a": 50.0, "b": 50.0},
    "canary": {"control": 90.0, "canary": 10.0},
    "three": {"a": 70.0, "b": 20.0, "c": 10.0},
    "zero": {"a": 1.0, "off": 0.0, "b": 0.5},
}


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
        units = [*UNITS, *(f"user-{number}" for number in range(40))]
        picked = {unit: pick(route, unit).name for unit in units}
        picks.append({"salt": route.salt, "weights": weights, "picks": picked})
    document = {
        "about": "uniform = ((XXH3-64(key, seed 0) >> 12) + 0.5) / 2^52, a C99 hexadecimal float; "
        "key = '<bytes of salt>:<salt><bytes of target>:<target><unit>' in UTF-8; "
        "picked is the target with the smallest -ln(uniform) / weight, of equal ones the first; "
        "weight 0 is never picked",
        "draws": draws,
        "splits": picks,
    }
    path = Path(__file__).with_name("golden_vectors.json")
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
