"""Projects are exported before a reset, and a database of other migrations can be emptied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asyncpg import Pool

from mobvibe_worker.errors import ExportFailed, MigrationFailed
from mobvibe_worker.jobs import LOCAL_OWNER
from mobvibe_worker.store.connection.pool import connect
from mobvibe_worker.store.export import export_projects
from mobvibe_worker.store.schema.fingerprint import fingerprint
from mobvibe_worker.store.schema.migrations import MigrationRunner
from mobvibe_worker.store.seed import seed
from mobvibe_worker.store.stores import Stores
from support.postgres.database import running_job

FILES = {"App.tsx": b"export default 1;\n", "assets/icon.png": b"\x89PNG\x00\xff"}


async def _project_with_files(pool: Pool) -> str:
    """The slug of a project of two versions and one prompt."""
    stores = Stores(pool)
    job, attempt = await running_job(pool)
    first = await stores.revisions.commit_template(attempt, {"App.tsx": b"old", "b.ts": b""})
    await stores.revisions.commit_person(job.project_id, first.id, FILES)
    return (await stores.projects.get(job.project_id)).slug


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


async def test_the_newest_files_and_the_prompts_are_written(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    slug = await _project_with_files(pool)
    empty = await Stores(pool).projects.create(LOCAL_OWNER, "Empty", 57)
    written = await export_projects(database_url, tmp_path / "out")
    assert (written.slugs, written.files, written.lacking) == ([slug, "empty"], 2, [])
    assert _files(tmp_path / "out" / slug) == FILES
    about = json.loads((tmp_path / "out" / f"{slug}.json").read_text())
    assert (about["sdk"], about["prompts"]) == (54, ["a timer for coffee"])
    assert _files(tmp_path / "out" / empty.slug) == {}
    assert json.loads((tmp_path / "out" / "empty.json").read_text())["name"] == "Empty"


async def test_projects_of_several_people_do_not_overwrite_each_other(
    database_url: str, pool: Pool, tmp_path: Path
) -> None:
    await seed(database_url)
    slug = await pool.fetchval("select slug from projects limit 1")
    await pool.execute("insert into projects (user_id, name) values ($1, $2)", LOCAL_OWNER, slug)
    twins = await pool.fetchval("select count(*) from projects where slug = $1", slug)
    written = await export_projects(database_url, tmp_path / "out")
    assert twins == 2 and {slug, f"{slug}-2"} <= set(written.slugs)
    assert len(set(written.slugs)) == await pool.fetchval("select count(*) from projects")


async def test_without_projects_there_is_no_folder(database_url: str, tmp_path: Path) -> None:
    written = await export_projects(database_url, tmp_path / "out")
    assert written.slugs == [] and not (tmp_path / "out").exists()


async def test_an_older_schema_is_exported_as_far_as_it_goes(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    slug = await _project_with_files(pool)
    await pool.execute(
        "alter table projects drop column head_revision_id cascade, drop column slug"
    )
    await pool.execute("drop table coding_jobs cascade")
    written = await export_projects(database_url, tmp_path / "out")
    (folder,) = written.slugs
    assert folder != slug and _files(tmp_path / "out" / folder) == FILES
    (lacking,) = written.lacking
    assert "coding_jobs" in lacking


async def test_a_database_without_our_tables_has_nothing_to_export(
    empty_database: str, tmp_path: Path
) -> None:
    written = await export_projects(empty_database, tmp_path / "out")
    assert written.slugs == [] and "projects" in written.lacking[0]


async def test_a_folder_that_cannot_be_written_is_an_error(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    await _project_with_files(pool)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportFailed, match="could not be exported"):
        await export_projects(database_url, tmp_path / "file" / "out")


async def test_paths_that_lead_outside_are_refused(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    await _project_with_files(pool)
    await pool.execute("alter table project_files drop constraint project_files_path_check")
    await pool.execute("update project_files set path = '../outside' where path = 'App.tsx'")
    with pytest.raises(ExportFailed, match="outside"):
        await export_projects(database_url, tmp_path / "out")
    assert not list(tmp_path.rglob("outside"))


async def _objects(url: str) -> object:
    connection = await connect(url)
    try:
        return await fingerprint(connection)
    finally:
        await connection.close()


async def test_a_database_of_changed_migrations_is_emptied(pool: Pool, database_url: str) -> None:
    runner, before = MigrationRunner(database_url), await _objects(database_url)
    await _project_with_files(pool)
    await pool.execute(
        "create function public.enqueue_jobs(j coding_jobs) returns int language sql as 'select 1';"
        " create function private.of_old(j coding_jobs) returns int language sql as 'select 1';"
        " drop function public.enqueue_job, public.fail_job;"
        " update mobvibe_migrations.applied set sha256 = 'old', name = 'older' where version = 6"
    )
    gone = await runner.clear()
    assert [one.version for one in gone] == sorted((one.version for one in gone), reverse=True)
    assert {state.state for state in await runner.status()} == {"pending"}
    await runner.migrate()
    assert await _objects(database_url) == before
    assert await pool.fetchval("select count(*) from projects") == 0


async def test_what_belongs_to_others_stops_the_wipe_and_nothing_is_lost(
    pool: Pool, database_url: str
) -> None:
    await _project_with_files(pool)
    await pool.execute(
        "create view public.theirs as select id from public.projects;"
        " update mobvibe_migrations.applied set sha256 = 'old' where version = 6"
    )
    with pytest.raises(MigrationFailed, match="theirs"):
        await MigrationRunner(database_url).clear()
    assert await pool.fetchval("select count(*) from projects") == 1
