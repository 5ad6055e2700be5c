"""Compares the queue with its plain model over many long random sequences of steps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mobvibe_worker.store.schema.migrations import MigrationRunner
from support.postgres.clusters import OwnCluster, running
from support.queue.histories import check_against_the_model

EXAMPLES, STEPS = 150, 120


@pytest.mark.chaos
@pytest.mark.timeout(1800)
async def test_the_queue_agrees_with_its_model_over_long_runs(
    programs: Path, tmp_path: Path
) -> None:
    async with running(OwnCluster(programs, tmp_path / "cluster", fsync="off")) as cluster:
        await cluster.run_sql("create database chaos")
        await MigrationRunner(cluster.url("chaos")).migrate()
        url = cluster.url("chaos")
        await asyncio.to_thread(check_against_the_model, url, examples=EXAMPLES, steps=STEPS)
