"""A headless run, from a prompt to the running app: its events, its result line, and a phone that opens the URL."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from journey.conftest import processes_of
from mobvibe_app.preview.network import lan_address
from mobvibe_worker.home import Home
from support.phone import Phone
from support.polling import until
from support.program import Program, run_program

pytestmark = [pytest.mark.expo, pytest.mark.timeout(900)]

OWN_TEXT = b"Split the bill, keep the friends."
CHANGED_TEXT = "MIDNIGHT EDITION"


async def test_a_demo_reaches_a_phone_and_a_second_demo_changes_the_app_live(home: Home) -> None:
    first = await Program.start(home.root, "run", "--demo", "tip-splitter", "--keep", "--json")
    result = await first.result()
    assert result["status"] == "completed", result
    assert result["checks"]["green"] is True and result["checks"]["sandboxed"] is False
    assert result["cost_usd"] == 0

    _assert_the_mistake_was_fixed_before_completion(first)
    _assert_events_have_no_gap(first)

    phone = Phone(result["url"])
    assert phone.address == f"{lan_address(None)}:{urlsplit(result['url']).port}"
    for platform in ("ios", "android"):
        await _assert_it_opens(Phone(result["url"], platform))

    async with phone:
        second = await run_program(home.root, "run", "--demo", "tip-splitter-dark", "--json")
        changed = await second.result()
        assert changed["status"] == "completed", changed
        assert changed["project"] == result["project"]
        assert changed["url"] == result["url"]
        await phone.sees(CHANGED_TEXT)

    seen = "opened the app: bundle"
    await until(lambda: any(seen in line for line in first.lines), 20, seen)
    assert first.process.returncode is None, "--keep must continue to serve the app"
    assert await first.interrupt() == 0
    await until(lambda: not processes_of(home), 60, "nothing is left running")


def _assert_the_mistake_was_fixed_before_completion(program: Program) -> None:
    kinds = [
        (event["type"], event["data"].get("outcome"))
        for event in program.events
        if event["type"] in ("terminal", "completion", "file_change")
    ]
    red = kinds.index(("terminal", "failed"))
    fix = kinds.index(("file_change", None), red)
    done = kinds.index(("completion", None))
    assert red < fix < done
    assert ("terminal", "failed") not in kinds[fix:]
    (completion,) = program.events_of("completion")
    assert completion["data"]["report"]["green"] is True


def _assert_events_have_no_gap(program: Program) -> None:
    numbers = [event["seq"] for event in program.events]
    assert numbers == list(range(1, len(numbers) + 1))
    assert program.events[0]["data"]["author"] == "person"
    assert program.events[-1]["type"] == "preview_ready"


async def _assert_it_opens(phone: Phone) -> None:
    manifest = await phone.manifest()
    assert manifest["runtimeVersion"] == "exposdk:54.0.0"
    assert urlsplit(manifest["launchAsset"]["url"]).netloc == phone.address
    assert manifest["extra"]["expoClient"]["hostUri"] == phone.address
    bundle = await phone.bundle()
    assert len(bundle) > 1_000_000
    assert OWN_TEXT in bundle


async def test_stored_events_and_jobs_can_be_read_afterwards(home: Home) -> None:
    listed = await run_program(home.root, "jobs", "--json")
    job = listed.objects[0]["job"]
    assert job["status"] == "completed"
    stored = await run_program(home.root, "events", job["session_id"], "--json")
    numbers = [event["seq"] for event in stored.events]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(stored.events_of("completion")) == 2
    assert "\x1b" not in json.dumps(stored.events)


async def test_a_persons_edit_during_a_job_is_kept_and_merged(home: Home) -> None:
    serving = await Program.start(home.root, "run", "--demo", "tip-splitter", "--keep", "--json")
    built = await serving.result()
    served = home.sdk(54).served(built["project"])
    slow = {"MOBVIBE_DEMO_PACE": "1"}
    order = ("run", "--demo", "tip-splitter-dark", "--project", built["project"], "--json")
    changing = await Program.start(home.root, *order, env=slow)
    await changing.until_event(lambda event: event["type"] == "file_change")
    (served / "NOTES.md").write_text("mine\n")

    changed = await changing.result()
    assert changed["status"] == "completed", changed
    reported = [event["data"].get("path") for event in changing.events if event["job_id"] is None]
    assert "NOTES.md" in reported
    merged = [event["data"].get("command") for event in changing.events_of("terminal")]
    assert "merge your own edits" in merged
    assert (served / "NOTES.md").read_text() == "mine\n"
    assert CHANGED_TEXT in (served / "App.tsx").read_text()
    assert await changing.ended() == 0
    assert await serving.interrupt() == 0
