"""One service is restarted, rebuilt or reset; its clients keep running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from mobvibe_app.containers.engine import DockerEngine
from mobvibe_app.environment.environment import Environment
from mobvibe_app.environment.maintenance import Maintenance
from mobvibe_app.settings import AppSettings
from mobvibe_app.status import ServiceStatus
from mobvibe_app.supervisor.choices import Choices
from mobvibe_app.wiring import build_environment
from mobvibe_worker.errors import InputError
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import LOCAL_OWNER, SessionId
from mobvibe_worker.store.connection.pool import open_pool
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.workspace.publish import ServedFolder
from support.containers.engine import BASE_IMAGE, POSTGRES_IMAGE
from support.containers.expo_images import cached_image
from support.expo import ExpoSdk
from support.expo import make_expo_home as make_expo_home
from support.phone import Phone
from support.polling import patient, within
from support.program import run_program


@asynccontextmanager
async def _environment(
    home: Home, on_status: Callable[[ServiceStatus], None] = lambda status: None
) -> AsyncIterator[Environment]:
    environment = build_environment(AppSettings(home=home.root), on_status)
    try:
        yield environment
    finally:
        await environment.close()


async def _rows(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("select count(*) from projects"))
    finally:
        await connection.close()


async def _add_row(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table if not exists projects (n int)")
    await connection.execute("insert into projects values (7)")
    await connection.close()


async def _pid(environment: Environment) -> int:
    running = await (await environment.supervisor()).running("postgres")
    assert running is not None
    return running.pid


async def test_a_restart_keeps_the_rows_the_address_and_the_clients(
    home: Home,
) -> None:
    async with _environment(home) as environment, _environment(home) as other:
        dsn = await environment.start(lambda status: None)
        assert await other.start(lambda status: None) == dsn
        lost = asyncio.create_task(other.lost())
        await _add_row(dsn)
        before = await _pid(other)
        done = await run_program(home.root, "restart", "postgres", "--json")
        assert done.objects == [{"service": "postgres", "status": "restarted"}], done.output
        assert await _pid(other) != before
        assert await _rows(dsn) == 1
        assert not lost.done()
        lost.cancel()


async def test_a_reset_asks_for_confirmation_then_empties_the_database(home: Home) -> None:
    async with _environment(home) as environment:
        dsn = await environment.start(lambda status: None)
        await _add_row(dsn)
        refused = await run_program(home.root, "reset", "postgres")
        assert refused.process.returncode == 2
        assert "will be gone" in refused.output and "--yes" in refused.output
        assert await _rows(dsn) == 1
        lost = asyncio.create_task(environment.lost())
        done = await run_program(home.root, "reset", "postgres", "--yes")
        assert done.process.returncode == 0, done.output
        assert "reset" in (await asyncio.wait_for(lost, patient(20))).message
        assert not (home.postgres / "data").exists()
    async with _environment(home) as environment:
        dsn = await environment.start(lambda status: None)
        with pytest.raises(asyncpg.UndefinedTableError):
            await _rows(dsn)


async def test_a_reset_exports_the_projects_of_a_running_server(home: Home) -> None:
    async with _environment(home) as environment:
        dsn = await environment.start(lambda status: None)
        await environment.migrate(dsn)
        pool = await open_pool(dsn)
        try:
            await ProjectStore(pool).create(LOCAL_OWNER, "Coffee timer", 54)
        finally:
            await pool.close()
        asked = await run_program(home.root, "reset", "postgres")
        assert "exported first" in asked.output
        home.exports.write_text("in the way")
        failed = await run_program(home.root, "reset", "postgres", "--yes")
        assert failed.process.returncode == 3 and "Nothing was deleted" in failed.output
        assert await _rows(dsn) == 1
        home.exports.unlink()
        done = await run_program(home.root, "reset", "postgres", "--yes")
        assert done.process.returncode == 0 and "exported 1 project(s)" in done.output, done.output
        assert list(home.exports.glob("*/coffee-timer.json"))
    asked = await run_program(home.root, "reset", "postgres")
    assert "Nothing can be exported" in asked.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("restart", "postgres"), "postgres does not run"),
        (("restart", "preview"), "preview does not run"),
        (("restart", "metro"), "There is no service 'metro'"),
        (("rebuild", "postgres"), "has nothing to rebuild"),
        (("reset", "postgres", "--postgres", "postgresql://a:b@127.0.0.1:1/c"), "does not run"),
    ],
)
async def test_maintenance_that_is_impossible_is_refused_with_the_reason(
    home: Home, arguments: tuple[str, ...], why: str
) -> None:
    refused = await run_program(home.root, *arguments, "--json")
    assert refused.process.returncode == 2
    assert why in refused.output


async def test_a_reset_of_a_preview_deletes_its_port_and_log(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    async with _environment(home) as environment:
        log = home.logs / "preview-one.log"
        log.write_text("Bundled")
        assert await Maintenance(environment).reset("preview-one") == (
            "the port and the log of preview-one",
        )
        assert not log.exists()
        with pytest.raises(InputError):
            Maintenance(environment).consequence("../preview")


@pytest.mark.docker
async def test_postgres_in_a_container_can_be_restarted_rebuilt_and_reset(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    monkeypatch.setenv("MOBVIBE_POSTGRES_IMAGE", POSTGRES_IMAGE)
    monkeypatch.setenv("MOBVIBE_POSTGRES", "docker")
    reported: list[ServiceStatus] = []
    async with _environment(home, reported.append) as environment:
        dsn = await environment.start(reported.append)
        assert environment.services.modes.settled() == {"postgres": "docker"}
        home_id = Choices(home.choices).get("home_id")
        lost = asyncio.create_task(environment.lost())
        await _add_row(dsn)
        names = [found.name for found in engine.labelled(home_id)]
        for act in (
            Maintenance(environment).restart,
            Maintenance(environment).rebuild,
        ):
            before = await _pid(environment)
            await act("postgres")
            assert await _pid(environment) != before
            assert await _rows(dsn) == 1
            assert [found.name for found in engine.labelled(home_id)] == names
        assert not lost.done()
        deleted = await Maintenance(environment).reset("postgres")
        assert deleted == (f"the container {names[0]}", f"the volume {names[0]}")
        assert engine.labelled(home_id) == ()
        assert engine.volume_labels(names[0]) is None
        await lost
        await environment.shut_down()
        removed = await environment.remove_all()
        assert removed is not None and not removed.volumes


@pytest.mark.docker
@pytest.mark.expo
@pytest.mark.timeout(900)
async def test_a_preview_in_a_container_can_be_restarted_replaced_and_reset(
    engine: DockerEngine,
    make_expo_home: Callable[[int], Home],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = await asyncio.to_thread(make_expo_home, 54)
    await cached_image(engine, ExpoSdk(home, 54))
    monkeypatch.setenv("MOBVIBE_EXPO_BASE_IMAGE", BASE_IMAGE)
    monkeypatch.setenv("MOBVIBE_PREVIEW", "docker")
    reported: list[ServiceStatus] = []
    async with _environment(home, reported.append) as environment:
        starter, _ = await environment.starters.get(54)
        ServedFolder(home.sdk(54).served("app")).publish(starter.files("App", "app"))
        session = SessionId(uuid4())
        shown = await environment.previews.serve(session, "app", 54)
        home_id = Choices(home.choices).get("home_id")
        (before,) = engine.labelled(home_id)
        done = await run_program(home.root, "restart", "preview-app", "--json")
        assert done.objects == [{"service": "preview-app", "status": "restarted"}], done.output
        (after,) = engine.labelled(home_id)
        assert after.name == before.name and after.id != before.id
        assert b"Open up App.tsx" in await Phone(shown.url).bundle()

        # Another program removes it; the supervisor notices, and opening it recreates it.
        engine.remove(after.name)
        supervisor = await environment.supervisor()
        async with within(30):
            while True:
                if await supervisor.running("preview-app") is None:
                    break
                await asyncio.sleep(0.1)
        assert (await environment.previews.serve(session, "app", 54)).url == shown.url
        assert b"Open up App.tsx" in await Phone(shown.url).bundle()

        # A reset also deletes its image, which is then built again.
        deleted = await Maintenance(environment).reset("preview")
        assert [one.partition(":")[0] for one in deleted] == [
            "the port and the log of preview-app",
            "the image mobvibe-expo-54",
        ]
        assert not engine.labelled(home_id) and not engine.images.labelled(home_id)
        reported.clear()
        again = await environment.previews.serve(session, "app", 54)
        assert "building" in {status.state for status in reported}
        assert b"Open up App.tsx" in await Phone(again.url).bundle()
        await environment.shut_down()
        await environment.remove_all()
