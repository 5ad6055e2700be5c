"""A chaos run of a few seconds."""

from __future__ import annotations

from pathlib import Path

from support.postgres.clusters import embedded_18
from support.queue.chaos import Pace
from support.queue.chaos_run import run_chaos

PACE = Pace(
    seconds=14,
    kill_worker=2.0,
    freeze_worker=0.5,
    cut_listeners=1.0,
    kill_server=6.0,
    shift_clock=2.0,
)


async def test_no_job_is_lost_doubled_or_out_of_order(tmp_path: Path) -> None:
    print(await run_chaos(embedded_18(), tmp_path, PACE))
