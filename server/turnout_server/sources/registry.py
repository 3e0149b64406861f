"""Fetching from an MLflow registry, in the child: where it is, MLflow's own environment variables say."""

from __future__ import annotations

import importlib
import math
import os
import re
from pathlib import Path
from typing import Any

from turnout_server.sources.conversation import Fetched
from turnout_server.sources.source import SourceError

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""Unless the environment says otherwise. MLflow's own are seven times and 120 seconds, minutes for a wrong address."""
_MODEL = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))")


def fetch(uri: str, out: Path) -> Fetched:
    """Fetch `models:/NAME@ALIAS`, `models:/NAME/3` or `runs:/ID/PATH` into the folder *out*.

    Raises:
        ModuleNotFoundError: MLflow is not installed.
        SourceError: the URI is none of these.
        Exception: whatever MLflow raises.
    """
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    mlflow: Any = importlib.import_module("mlflow")
    artifacts: Any = importlib.import_module("mlflow.artifacts")
    named = _MODEL.fullmatch(uri)
    version = run_id = ""
    metrics: dict[str, float] = {}
    if named is not None:
        client = mlflow.MlflowClient()
        name, alias, number = named.groups()
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
        version, run_id = str(found.version), found.run_id or ""
        # By its number: an alias may have moved meanwhile.
        uri = f"models:/{name}/{version}"
        metrics = _metrics(client, run_id)
    elif not uri.startswith("runs:/"):
        raise SourceError(f"{uri}: expected models:/NAME@ALIAS or models:/NAME/VERSION")
    folder = artifacts.download_artifacts(artifact_uri=uri, dst_path=str(out))
    return Fetched(str(folder), version, run_id, metrics)


def _metrics(client: Any, run_id: str) -> dict[str, float]:
    """Return what the run has measured; nothing where it is gone."""
    try:
        found = client.get_run(run_id).data.metrics if run_id else {}
    except Exception:  # whatever MLflow has for that; they are a bonus
        return {}
    return {str(name): float(value) for name, value in found.items() if math.isfinite(value)}
