"""The tutorial's definition is one that starts on the demo store."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from turnout_server.experiments.started import check_on
from turnout_server.experiments.text import parse
from turnout_server.routing.stored import StoredNames
from turnout_server.routing.text import parse as table_of
from turnout_server.store.store import DirectoryStore

ROOT = Path(__file__).parents[2]


def test_the_tutorials_definition_can_be_started_as_it_stands() -> None:
    page = (ROOT / "docs/experiments.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^   ```yaml\n(.*?)^   ```", page, re.S | re.M)
    experiment = parse(textwrap.dedent(block))
    table = table_of((ROOT / "model_store/routes.yaml").read_text(encoding="utf-8"))
    models = DirectoryStore(ROOT / "model_store").snapshot().models
    versions, labels = ({name: getattr(one, what) for name, one in models.items()} for what in ("versions", "labels"))
    arms = check_on(experiment, table.get(experiment.route), StoredNames(table, versions, labels))
    assert [arm.name for arm in arms] == ["control", "canary"]
