"""docs/queue.md names exactly the existing functions, notifications, settings, flags and metrics."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest

from mobvibe_app.cli.arguments import parser
from mobvibe_worker.runner.metrics import WorkerCollector
from mobvibe_worker.runner.running_job import WorkerTimings
from mobvibe_worker.runner.tally import OUTCOMES, Tally
from mobvibe_worker.settings import WorkerSettings
from mobvibe_worker.store.schema.migration_files import migrations_folder

PAGE = (Path(__file__).parents[3] / "docs" / "queue.md").read_text()
CODE = set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)))
OF_THE_QUEUE = ("0005_line.sql", "0006_queue.sql", "0009_retention.sql")
OTHERS = {"append_events", "complete_attempt", "private.forget_events", "private.recount_jobs"}
NOT_OF_THE_QUEUE = {
    "budget_usd",
    "checks",
    "demo_pace",
    "direct_url",
    "effort",
    "home",
    "model",
} | {
    *("anthropic_api_key", "anthropic_base_url", "database_url", "slow_query_ms"),
}


def _sql(*names: str) -> str:
    return "\n".join((migrations_folder() / name).read_text() for name in names)


def test_every_function_of_the_queue_is_explained() -> None:
    made = set(re.findall(r"create function public\.(\w+)", _sql(*OF_THE_QUEUE)))
    assert {name for name in made if name not in CODE} == set()
    assert len(made) > 15


async def test_every_function_called_in_the_document_exists(database_url: str) -> None:
    called = set(re.findall(r"(?:select (?:\* from )?)((?:private\.)?\w+)\(", PAGE))
    called |= {name for name in OTHERS if name.partition(".")[2] in PAGE}
    called |= set(re.findall(r"^\s*\S+ --> \S+: (\w+_\w+)", PAGE, re.MULTILINE))
    assert {"get_queue_stats", "retry_job", "claim_jobs", "private.recount_jobs"} <= called
    connection = await asyncpg.connect(database_url)
    try:
        for name in called:
            schema, _, function = name.rpartition(".")
            assert await connection.fetchval(
                "select exists (select from pg_proc where proname = $1 and pronamespace = $2::regnamespace)",
                *(function, schema or "public"),
            ), name
    finally:
        await connection.close()


def test_every_notification_is_explained() -> None:
    sql = _sql("0003_row_rules.sql", *OF_THE_QUEUE, "0007_events_and_work.sql")
    sent = set(re.findall(r"(?:pg_notify|notify_in_pieces)\(\s*'(\w+)'", sql))
    listed = set(re.findall(r"^\| `(\w+)` \|", _section("Notifications"), re.MULTILINE))
    assert sent == listed and len(sent) == 5


def test_every_setting_of_a_worker_is_explained_with_its_default() -> None:
    for name, field in WorkerSettings.model_fields.items():
        if name in NOT_OF_THE_QUEUE:
            continue
        alias = name.upper() if name.endswith("interval_ms") else f"MOBVIBE_{name.upper()}"
        default = "none" if field.default is None else f"{field.default}".removesuffix(".0")
        row = re.search(rf"^\| .*\| `{alias}` \| (\S+) \|", PAGE, re.MULTILINE)
        assert row is not None, alias
        assert row.group(1) == default, alias
    known = {f"MOBVIBE_{name.upper()}" for name in WorkerSettings.model_fields}
    assert {one for one in CODE if re.fullmatch(r"MOBVIBE_\w+", one)} <= known


def test_every_named_flag_exists() -> None:
    flags = {one.split()[0] for one in CODE if one.startswith("--")} - {"--json"}
    assert flags == {"--concurrency", "--drain", "--metrics", "--reload"}
    given = parser().parse_args(
        ["worker", "--concurrency", "2", "--drain", "1", "--metrics", "9000", "--reload", "x"]
    )
    assert (given.metrics_port, given.reload, given.drain_seconds) == (9000, "x", 1.0)
    assert parser().parse_args(["retry", "--all-dead"]).all_dead


async def test_every_metric_is_explained() -> None:
    worker: Any = type("Idle", (), {})()
    worker.id, worker.running, worker.tally = "w", {}, Tally()
    worker.timings = WorkerTimings(lease=20, poll=10, concurrency=1)
    worker.listener = type("Listening", (), {"is_connected": True})()
    collector = WorkerCollector(cast(Any, worker), asyncio.get_running_loop())
    own = {sample.name for metric in collector._own() for sample in metric.samples}
    named = {re.sub(r"\{.*", "", one) for one in CODE if one.startswith("mobvibe_")}
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in own}
    assert bare <= named, bare - named
    for outcome in OUTCOMES:
        assert outcome.replace(" ", "_") in PAGE


@pytest.mark.parametrize("title", ["Architecture", "Functions", "Troubleshooting", "Tuning"])
def test_the_main_sections_exist(title: str) -> None:
    assert len(_section(title)) > 300


def _section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
