"""How a version becomes something that runs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.gateway.world import SIGNATURE, Predictor, manifest
from turnout_server.config import LimitsConfig, SchedulingConfig
from turnout_server.execution.loading import Loading, Opened, rules_of
from turnout_server.execution.workers import Workers
from turnout_server.instruments.instruments import Instruments
from turnout_server.scheduling.batcher import Rules
from turnout_server.scheduling.shares import Shares
from turnout_server.store.manifest import Batching
from turnout_server.vocabulary.errors import QueueFullError, TurnoutError
from turnout_server.vocabulary.versions import VersionKey

KEY = VersionKey("price", 1)


@pytest.mark.parametrize(
    ("batching", "rules"),
    [
        (Batching(), Rules(64, 0.0, 200_000.0, 2)),
        (Batching(max_rows=1), Rules(1, 0.0, 200_000.0, 2)),
        (Batching(max_rows=8, max_delay_us=500), Rules(8, 0.0005, 200_000.0, 2)),
    ],
)
def test_the_manifest_goes_before_the_configuration(batching: Batching, rules: Rules) -> None:
    assert rules_of(batching, SchedulingConfig(), 2) == rules


async def test_versions_share_the_room_of_the_process_and_each_begins_its_statistics_anew() -> None:
    instruments = Instruments()
    with ThreadPoolExecutor(1) as executor:
        workers = Workers(asyncio.get_running_loop(), executor, Shares(1, 1, 1), lambda: False)
        loading = Loading(
            lambda key: Opened(Predictor(manifest(key.version)), {1: 10**9}),
            workers,
            instruments,
            LimitsConfig(queue_total_rows=4, queue_requests=9),
        )
        one, two = loading.load(KEY), loading.load(VersionKey("price", 2))
        x = {"x": np.ones((2, 1), np.float32)}
        told: list[TurnoutError | None] = []
        for runner in (one, one):
            runner.submit(x, runner.output_names, None, lambda *answer: told.append(answer[2]), rows=2)
        two.submit(x, two.output_names, None, lambda *answer: told.append(answer[2]), rows=2)
        with pytest.raises(QueueFullError):
            two.submit(x, two.output_names, None, lambda *answer: None, rows=2)
        while len(told) < 3:
            await asyncio.sleep(0)
        assert one.signature == SIGNATURE
        assert one.statistics.execution_count
        assert loading.load(KEY).statistics.execution_count == 0
