"""What a shell may offer after TAB. Silent: a store that cannot be read offers nothing."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from turnout_server.routing.text import parse
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.errors import TurnoutError


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the store's models."""
    try:
        return [name for name in _store(context).models() if name.startswith(incomplete)]
    except (TurnoutError, OSError):
        return []


def labels(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the labels of the model that the command line names."""
    try:
        found = _store(context).labels(str(context.params.get("model")))
    except (TurnoutError, OSError):
        return []
    return [name for name in found if name.startswith(incomplete)]


def versions(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the versions of the model that the command line names."""
    try:
        found = _store(context).versions(str(context.params.get("model")))
    except (TurnoutError, OSError):
        return []
    return [str(version) for version in found if str(version).startswith(incomplete)]


def routes(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the routes of the store's table."""
    try:
        return [one.name for one in parse(_store(context).routes_text() or "") if one.name.startswith(incomplete)]
    except (TurnoutError, OSError):
        return []


def experiments(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the experiments that were started."""
    from turnout_server.experiments.started import Ledger

    try:
        return [name for name in Ledger(_store(context).blobs).names() if name.startswith(incomplete)]
    except (TurnoutError, OSError):
        return []


def _store(context: typer.Context) -> DirectoryStore:
    return DirectoryStore(Path(context.params.get("store") or os.environ.get("TURNOUT_STORE", "model_store")))
