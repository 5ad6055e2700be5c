"""`mobvibe-tui bench --quick` runs on its own server, and every figure is a number."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mobvibe_app.bench.figures import Figures, as_data, table
from mobvibe_worker.processes.surroundings import allowed_environment
from support.polling import within


async def _bench(home: Path, *arguments: str) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mobvibe_app", "bench", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=allowed_environment({"MOBVIBE_HOME": str(home)}),
    )
    async with within(200):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode(), err.decode()


@pytest.mark.parametrize(
    ("what", "scenario"), [("queue", "pick-up latency, 10 slot(s), p50"), ("events", "append 100")]
)
async def test_a_quick_run_prints_its_figures(tmp_path: Path, what: str, scenario: str) -> None:
    home = tmp_path / "home"
    out, err = await _bench(home, what, "--quick", "--json")
    figures: list[dict[str, Any]] = [json.loads(line)["bench"] for line in out.splitlines()]
    assert any(figure["scenario"].startswith(scenario) for figure in figures), out
    assert all(figure["median"] > 0 and len(figure["rounds"]) == 1 for figure in figures)
    assert "round 1 of 1" in err
    assert not home.exists(), "the person's home must not be touched"


async def test_a_run_on_a_named_server_leaves_no_database_behind(
    tmp_path: Path, postgres_server: str
) -> None:
    url = f"{postgres_server}/postgres"
    out, _ = await _bench(tmp_path / "home", "events", "--quick", "--postgres", url)
    assert "append 20 row(s) a statement (rows/s)" in out
    connection = await asyncpg.connect(url)
    sql = "select count(*) from pg_database where datname like 'mobvibe_bench_%'"
    assert await connection.fetchval(sql) == 0
    await connection.close()


def test_a_ratio_above_one_means_that_ours_is_better() -> None:
    figures = Figures()
    for value in (10.0, 30.0, 20.0):
        figures.add("claim", "mobvibe", "jobs/s", value)
        figures.add("claim", "other", "jobs/s", value / 2)
    figures.add("pick-up", "mobvibe", "ms", 2.0)
    figures.add("pick-up", "other", "ms", 3.0)
    measured = figures.all()
    data = {(one.scenario, one.system): as_data(one, measured) for one in measured}
    assert data["claim", "other"]["ratio"] == 2.0
    assert data["claim", "mobvibe"] == {
        "scenario": "claim",
        "system": "mobvibe",
        "unit": "jobs/s",
        "median": 20.0,
        "rounds": [10.0, 30.0, 20.0],
        "ratio": None,
    }
    assert data["pick-up", "other"]["ratio"] == 1.5
    assert table(measured)[2].split() == ["other", "10.00", "(5.00", "to", "15.00)", "x2.00"]
