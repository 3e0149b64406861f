"""The server's Prometheus text, read."""

from __future__ import annotations

import urllib.request
from collections.abc import Collection

from prometheus_client.parser import text_string_to_metric_families

SCRAPE_S = 30.0
"""How long a scrape may take."""


def scrape(address: str, wanted: Collection[str] = ()) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the values of the samples *wanted*, by their sorted labels, by name.

    Raises:
        OSError: nobody answers at *address*.
        ValueError: the answer is no Prometheus text.
    """
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=SCRAPE_S) as answer:
        text = answer.read().decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {name: {} for name in wanted}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in found:
                found[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return found
