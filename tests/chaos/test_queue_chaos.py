"""A chaos run of several minutes on both versions of Postgres."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.queue.chaos import Pace
from support.queue.chaos_run import run_chaos

pytestmark = pytest.mark.chaos
SECONDS = float(os.environ.get("MOBVIBE_TEST_CHAOS_SECONDS", "300"))


@pytest.mark.timeout(SECONDS + 300)
async def test_no_job_is_lost_doubled_or_out_of_order(programs: Path, tmp_path: Path) -> None:
    print(f"\n{SECONDS:.0f} s: {await run_chaos(programs, tmp_path, Pace(SECONDS))}")
