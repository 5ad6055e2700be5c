"""Tries migrations on a copy of the database: the pending ones, or all of them up, down and up again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobvibe_worker.errors import BranchRefused
from mobvibe_worker.store.connection.pool import connect
from mobvibe_worker.store.schema.branches import Branches, CopyInUse
from mobvibe_worker.store.schema.fingerprint import differences, fingerprint
from mobvibe_worker.store.schema.migrations import Applied, MigrationRunner


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of going up, down and up again. `objects` counts the schema's; no `differences` means success."""

    migrations: int
    objects: int
    has_data: bool
    """Whether it ran on a copy with the data; else on an empty database, for the reason in `why_empty`."""
    why_empty: str
    differences: tuple[str, ...]


async def verify(
    dsn: str, folder: Path | None = None, copy_in_use: CopyInUse | None = None
) -> Verified:
    """Go up, down and up again on a temporary branch; the database itself is not changed.

    Raises MigrationFailed if a step fails, BranchRefused if the server allows no second database.
    """
    branches = Branches(dsn, copy_in_use)
    try:
        async with branches.scratch() as copy:
            return await _there_and_back(copy, folder, "")
    except BranchRefused as refused:
        async with branches.scratch(is_empty=True) as empty:
            return await _there_and_back(empty, folder, refused.message)


async def rehearse(
    dsn: str, folder: Path | None = None, copy_in_use: CopyInUse | None = None
) -> list[Applied]:
    """Apply the pending migrations to a temporary copy with the real data. Returns what was applied there.

    Makes no copy if nothing is pending. Raises MigrationFailed, BranchRefused if no copy can be made.
    """
    states = await MigrationRunner(dsn, folder).status()
    if all(state.state == "applied" for state in states):
        return []
    async with Branches(dsn, copy_in_use).scratch() as copy:
        return await MigrationRunner(copy, folder).migrate()


async def _there_and_back(dsn: str, folder: Path | None, why_empty: str) -> Verified:
    runner = MigrationRunner(dsn, folder)
    await runner.migrate()
    before = await _fingerprint(dsn)
    taken_back = await runner.rollback(0)
    await runner.migrate()
    after = await _fingerprint(dsn)
    return Verified(
        migrations=len(taken_back),
        objects=len(before),
        has_data=not why_empty,
        why_empty=why_empty,
        differences=tuple(differences(before, after)),
    )


async def _fingerprint(dsn: str) -> tuple[str, ...]:
    connection = await connect(dsn, application_name="mobvibe-verify")
    try:
        return await fingerprint(connection)
    finally:
        await connection.close()
