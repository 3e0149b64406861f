"""A registry's model is fetched by its number, with what its run has measured. MLflow itself is played."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from turnout_server.sources.conversation import Fetched
from turnout_server.sources.registry import PATIENCE, fetch
from turnout_server.sources.source import SourceError


class Client:
    """Version 3 of every model is its champion, of run r1."""

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        assert (name, alias) == ("churn", "champion")
        return SimpleNamespace(version="3", run_id="r1")

    def get_model_version(self, name: str, version: str) -> Any:
        return SimpleNamespace(version=version, run_id="gone")

    def get_run(self, run_id: str) -> Any:
        if run_id != "r1":
            raise RuntimeError("no such run")
        return SimpleNamespace(data=SimpleNamespace(metrics={"auc": 0.9, "loss": float("nan")}))


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for MLflow is gone after a test."""
    for name in PATIENCE:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    uris: list[str] = []

    def download_artifacts(artifact_uri: str, dst_path: str) -> str:
        uris.append(artifact_uri)
        return dst_path

    mlflow: Any = ModuleType("mlflow")
    mlflow.MlflowClient = Client
    artifacts: Any = ModuleType("mlflow.artifacts")
    artifacts.download_artifacts = download_artifacts
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.artifacts", artifacts)
    return uris


def test_an_alias_is_looked_up_once(tmp_path: Path, fetched: list[str]) -> None:
    assert fetch("models:/churn@champion", tmp_path) == Fetched(str(tmp_path), "3", "r1", {"auc": 0.9})
    assert fetched == ["models:/churn/3"]


def test_a_run_that_is_gone_takes_only_its_metrics_along(tmp_path: Path) -> None:
    assert fetch("models:/churn/2", tmp_path) == Fetched(str(tmp_path), "2", "gone", {})


def test_a_runs_artefact_is_fetched_as_it_is(tmp_path: Path, fetched: list[str]) -> None:
    assert fetch("runs:/r1/model", tmp_path) == Fetched(str(tmp_path))
    assert fetched == ["runs:/r1/model"]


@pytest.mark.parametrize("uri", ["models:/churn", "models:/churn@", "models:/churn/latest", "models:/a/b/3"])
def test_another_uri_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(SourceError, match="expected models:/NAME@ALIAS"):
        fetch(uri, tmp_path)


def test_a_registry_out_of_reach_is_not_waited_for_as_long_as_mlflow_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    fetch("models:/churn/2", tmp_path)
    assert (os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"], os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) == ("2", "7")
