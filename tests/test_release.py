"""The release that runs."""

from __future__ import annotations

from importlib import metadata

import pytest

from turnout_server.release import release


def test_the_release_is_the_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", {"turnout": "1.2.3"}.__getitem__)
    assert release() == "1.2.3"


def test_a_tree_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert release() == "0+unknown"
