"""Both data planes answer every case as the table has it."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.case import PLANES, Case
from tests.conformance.page import CHAPTERS
from tests.conformance.visit import MAX_MESSAGE, Visit, methods
from tests.transport.serving import Served, served

pytestmark = pytest.mark.asyncio(loop_scope="module")
CASES = [
    pytest.param(case, id=f"{number}.{case.section}-{case.name}")
    for number, chapter in enumerate(CHAPTERS, 1)
    for case in chapter.cases
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLANES)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Served, str]]:
    """One server of each plane, for all cases."""
    if request.param == "engine" and importlib.util.find_spec("turnout_engine") is None:
        pytest.skip("turnout-engine is not installed")
    async with served(request.param, methods(), max_message_bytes=MAX_MESSAGE) as one:
        yield one, request.param


@pytest.mark.parametrize("case", CASES)
async def test_a_case_is_answered_as_the_table_has_it(server: tuple[Served, str], case: Case) -> None:
    visit = Visit(*server)
    try:
        assert await visit.took(case) == case.expected(visit.plane)
    finally:
        await visit.leave()
