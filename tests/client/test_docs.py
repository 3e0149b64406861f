"""What docs/client.md shows is what happens, with the models of `model_store/`."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

from tests.e2e.conftest import REPOSITORY, StartGateway, start_gateway  # noqa: F401 - a fixture

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
FENCE = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)
ADDRESS = "127.0.0.1:8001"


def test_the_page_prints_what_it_says(start_gateway: StartGateway, tmp_path: Path) -> None:  # noqa: F811
    """Its snippets run from top to bottom in one namespace; after each comes what it printed."""
    gateway = start_gateway(REPOSITORY / "model_store", "--set", f"journal.path={tmp_path / 'journal'}")
    fences = FENCE.findall(PAGE.read_text(encoding="utf-8"))
    assert fences
    names: dict[str, Any] = {}
    printed = ""
    for language, text in fences:
        if language == "python":
            assert printed == "", f"the page does not show {printed!r}"
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text.replace(ADDRESS, gateway.address), str(PAGE), "exec"), names)
            printed = out.getvalue().replace(gateway.address, ADDRESS)
        else:
            assert printed == text
            printed = ""
    names["client"].close()
