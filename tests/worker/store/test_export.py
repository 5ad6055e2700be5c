"""Projects are exported as far as they can be read, and unreadable data is an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asyncpg import Pool

from mobvibe_worker.errors import ExportFailed
from mobvibe_worker.jobs import LOCAL_OWNER
from mobvibe_worker.store.connection.pool import connect
from mobvibe_worker.store.export import Exported, export_projects
from mobvibe_worker.store.schema.migration_files import our_tables
from mobvibe_worker.store.seed import seed
from mobvibe_worker.store.stores import Stores
from support.postgres.database import running_job

FILES = {"App.tsx": b"export default 1;\n", "assets/icon.png": b"\x89PNG\x00\xff"}


TABLES = [f"public.{table}" for table in our_tables()]


async def _export(url: str, folder: Path, role: str = "") -> Exported:
    connection = await connect(url)
    try:
        async with connection.transaction():
            if role:
                await connection.execute(f"set local role {role}")
            there = [t for t in TABLES if await connection.fetchval("select to_regclass($1)", t)]
            return await export_projects(connection, there, folder)
    finally:
        await connection.close()


async def _project_with_files(pool: Pool) -> str:
    """Create a project with two versions and one prompt. Returns its slug."""
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
    written = await _export(database_url, tmp_path / "out")
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
    written = await _export(database_url, tmp_path / "out")
    assert twins == 2 and {slug, f"{slug}-2"} <= set(written.slugs)
    assert len(set(written.slugs)) == await pool.fetchval("select count(*) from projects")


async def test_without_projects_there_is_no_folder(database_url: str, tmp_path: Path) -> None:
    written = await _export(database_url, tmp_path / "out")
    assert written.slugs == [] and not (tmp_path / "out").exists()


async def test_an_older_schema_is_exported_as_far_as_possible(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    slug = await _project_with_files(pool)
    await pool.execute(
        "alter table projects drop column head_revision_id cascade, drop column slug"
    )
    await pool.execute("drop table coding_jobs cascade")
    written = await _export(database_url, tmp_path / "out")
    (folder,) = written.slugs
    assert folder != slug and _files(tmp_path / "out" / folder) == FILES
    (lacking,) = written.lacking
    assert "coding_jobs" in lacking


async def test_a_database_without_our_tables_has_nothing_to_export(
    empty_database: str, tmp_path: Path
) -> None:
    written = await _export(empty_database, tmp_path / "out")
    assert written.slugs == [] and "projects" in written.lacking[0]


async def test_a_folder_that_cannot_be_written_is_an_error(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    await _project_with_files(pool)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportFailed, match="could not be exported"):
        await _export(database_url, tmp_path / "file" / "out")


async def test_paths_that_lead_outside_are_refused(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    await _project_with_files(pool)
    await pool.execute("alter table project_files drop constraint project_files_path_check")
    await pool.execute("update project_files set path = '../outside' where path = 'App.tsx'")
    with pytest.raises(ExportFailed, match="outside"):
        await _export(database_url, tmp_path / "out")
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("alter table project_files rename revision_id to of", "revision_id"),
        ("alter table project_blobs rename content to bytes", "content"),
        ("alter table coding_jobs rename prompt to asked", "prompt"),
        ("alter table projects rename id to number", "without an id|no id"),
    ],
)
async def test_a_table_with_rows_that_cannot_be_read_is_an_error(
    pool: Pool, database_url: str, tmp_path: Path, change: str, reason: str
) -> None:
    await _project_with_files(pool)
    await pool.execute(change)
    with pytest.raises(ExportFailed, match=reason):
        await _export(database_url, tmp_path / "out")


async def test_an_unreadable_empty_table_is_no_error(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    await Stores(pool).projects.create(LOCAL_OWNER, "Empty", 57)
    await pool.execute("alter table coding_jobs rename prompt to asked")
    written = await _export(database_url, tmp_path / "out")
    assert (written.slugs, written.lacking) == (["empty"], [])


@pytest.mark.parametrize(
    ("config", "sdk"),
    [
        ('"text"', None),
        ("[1]", None),
        ("{}", None),
        ('{"sdk": [54]}', "[54]"),
        (f'{{"sdk": {"9" * 5000}}}', "9" * 5000),
    ],
    ids=["text", "list", "nothing", "list of sdk", "huge"],
)
async def test_a_project_with_any_configuration_can_be_exported(
    pool: Pool, database_url: str, tmp_path: Path, config: str, sdk: str | None
) -> None:
    slug = await _project_with_files(pool)
    await pool.execute("alter table projects drop constraint projects_expo_config_check")
    await pool.execute(f"update projects set expo_config = '{config}'")
    written = await _export(database_url, tmp_path / "out")
    assert written.files == len(FILES)
    assert json.loads((tmp_path / "out" / f"{slug}.json").read_text())["sdk"] == sdk


async def test_a_project_that_cannot_be_exported_is_named_and_the_others_are_written(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    bad = await _project_with_files(pool)
    await pool.execute("alter table project_files drop constraint project_files_path_check")
    await pool.execute("update project_files set path = '../outside' where path = 'App.tsx'")
    await Stores(pool).projects.create(LOCAL_OWNER, "Later", 57)
    with pytest.raises(ExportFailed, match=rf"1 of 2 project\(s\) .*: {bad} \("):
        await _export(database_url, tmp_path / "out")
    assert (tmp_path / "out" / "later.json").exists()


async def test_rows_hidden_by_row_security_are_an_error(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    await _project_with_files(pool)
    with pytest.raises(ExportFailed, match="row-level security"):
        await _export(database_url, tmp_path / "out", role="authenticated")
