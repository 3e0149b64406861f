"""Names that the shell completes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import environment


def test_the_shell_completes_names_from_the_store(pristine: Path) -> None:
    words = f"turnout label --store {pristine} ran"
    ran = subprocess.run(
        [sys.executable, "-m", "turnout_server"],
        env=environment(_TURNOUT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="4"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.split() == ["ranking"]
