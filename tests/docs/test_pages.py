"""Every page does what it shows: commands and programs are run, and their output is compared."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs.conftest import Reader
from tests.docs.snippets import RUN_LANGUAGES, Block, agrees, blocks, steps

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = [page for page in PAGES if any(block.does == "run" for block in blocks(page))]
OLDER = {"architecture.md", "cli.md", "client.md", "deployment.md", "engine.md", "fuzzing.md", "journal.md"} | {
    "performance.md",
    "README.md",
    "shadow.md",
    "telemetry.md",
}
"""Pages that have blocks without a word on what becomes of them. `tests/client/test_docs.py` runs client.md."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


class Trained:
    """What training made, so that tests train one model a page, and only where the libraries are."""

    NEEDS = re.compile(r"^# needs: (.*)$", re.MULTILINE)
    COMMAND = re.compile(r"python (docs/tutorials/train_\w+\.py) (build/\S+)")

    def __init__(self) -> None:
        self._once = False

    def instead(self, command: str, folder: Path) -> bool:
        """Take the repository's model in place of the one that *command* would train; return whether that was done."""
        training = self.COMMAND.match(command)
        if training is None:
            return False
        needs = self.NEEDS.search((ROOT / training[1]).read_text(encoding="utf-8"))
        assert needs is not None, f"{training[1]} does not say what it needs"
        missing = [library for library in needs[1].split() if importlib.util.find_spec(library) is None]
        if not self._once and not missing:
            self._once = True
            return False
        made, out = ROOT / "docs/tutorials/models" / Path(training[2]).name, folder / training[2]
        if made.is_dir():
            shutil.copytree(made, out)
        else:
            shutil.copy(made, out)
        return True


@pytest.mark.parametrize("page", RUN, ids=name)
def test_a_page_prints_what_it_shows(page: Path, reader: Reader) -> None:
    """From top to bottom."""
    found = list(blocks(page))
    assert found
    trained = Trained()
    problems = []
    for index, block in enumerate(found):
        if block.does == "run" and block.language == "python":
            problems += _python(block, found[index + 1 :], reader)
        elif block.does == "run":
            for step in steps(block.text):
                if not trained.instead(step.command, reader.folder) and (problem := reader.follow(step)):
                    problems.append(f"{block.place}: {problem}")
    assert not problems, "\n\n".join(problems)


def _python(block: Block, after: Sequence[Block], reader: Reader) -> list[str]:
    printed = reader.python(block.text, block.place)
    shown = after[0].text if after and after[0].language == "text" else ""
    return [] if agrees(shown, printed) else [f"{block.place} printed:\n{printed}\nthe page shows:\n{shown}"]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in OLDER], ids=name)
def test_every_block_that_could_run_says_whether_it_does(page: Path) -> None:
    silent = [block.place for block in blocks(page) if block.language in RUN_LANGUAGES and not block.does]
    assert silent == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_file_that_a_page_shows_is_the_repositorys(page: Path) -> None:
    for block in blocks(page):
        if block.does.startswith("file="):
            assert (ROOT / block.does.removeprefix("file=")).read_text(encoding="utf-8") == block.text, block.place
