"""Which settings `turnout serve` starts with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from turnout_server import app
from turnout_server.config import Config


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that were to be served."""
    configs: list[Config] = []
    monkeypatch.setattr(app, "run", lambda config, started: configs.append(config))
    return configs


def test_options_win_over_variables_and_those_over_the_file(
    run: Run, served: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("store: {path: of-file}\ngrace_s: 1\nallow_changes: true")
    monkeypatch.setenv("TURNOUT_STORE", "of-environment")
    assert run("serve", "--config", file).code == 0
    assert run("serve", "--config", file, "--store", "typed", "--grace", 2, "--no-allow-changes").code == 0
    assert [(one.store.path, one.grace_s, one.allow_changes) for one in served] == [
        ("of-environment", 1, True),
        ("typed", 2, False),
    ]


def test_any_setting_can_be_set(run: Run, served: list[Config]) -> None:
    settings = ("limits.queue_rows=7", "telemetry.otlp_endpoint=null", "data_plane=python")
    assert run("serve", *(word for setting in settings for word in ("--set", setting))).code == 0
    assert (served[0].limits.queue_rows, served[0].telemetry.otlp_endpoint, served[0].data_plane) == (7, None, "python")


def test_the_data_plane_can_be_chosen(run: Run, served: list[Config]) -> None:
    assert run("serve").code == 0
    assert run("serve", "--data-plane", "python").code == 0
    assert run("serve", "--data-plane", "rust").code == 2
    assert [one.data_plane for one in served] == ["auto", "python"]


def test_metrics_can_be_off(run: Run, served: list[Config]) -> None:
    assert run("serve", "--metrics", "off").code == 0
    assert served[0].telemetry.metrics is None
