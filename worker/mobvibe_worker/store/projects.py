"""Projects: the apps that people build."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Literal

from asyncpg import Pool, Record
from asyncpg.exceptions import UniqueViolationError

from mobvibe_worker.errors import InputError, NotFound, StoreError
from mobvibe_worker.jobs import ProjectId, RevisionId, UserId
from mobvibe_worker.store.calls import once, repeatable

ProjectStatus = Literal["active", "archived", "deleted"]


@dataclass(frozen=True, slots=True)
class Project:
    """One row of projects. `sdk` is the Expo SDK's major version."""

    id: ProjectId
    user_id: UserId
    name: str
    slug: str
    sdk: int
    template_id: str | None
    head_revision_id: RevisionId | None
    status: ProjectStatus


class ProjectStore:
    """Makes and finds projects; deleted ones are not found by slug or list."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(
        self,
        user_id: UserId,
        name: str,
        sdk: int,
        template_id: str | None = None,
        slug: str | None = None,
    ) -> Project:
        """A new project; its slug comes from the name where none is given. Raises InputError for a taken slug."""
        try:
            rows = await once(
                self._pool,
                "insert into public.projects (user_id, name, slug, template_id, expo_config)"
                " values ($1, $2, $3, $4, $5) returning *",
                user_id,
                name,
                slug,
                template_id,
                {"sdk": sdk},
            )
        except StoreError as error:
            if isinstance(error.__cause__, UniqueViolationError):
                raise InputError(
                    f"There is a project {slug!r} already.", "Choose another name."
                ) from error
            raise
        return _project(rows[0])

    async def get(self, project_id: ProjectId) -> Project:
        """One project, also a deleted one. Raises NotFound."""
        rows = await repeatable(
            self._pool, "select * from public.projects where id = $1", project_id
        )
        if not rows:
            raise NotFound(f"There is no project {project_id}.")
        return _project(rows[0])

    async def by_slug(self, user_id: UserId, slug: str) -> Project:
        """A person's project by its short name. Raises NotFound."""
        rows = await repeatable(
            self._pool,
            "select * from public.projects where user_id = $1 and slug = $2 and status <> 'deleted'",
            user_id,
            slug,
        )
        if not rows:
            raise NotFound(f"There is no project {slug!r}.")
        return _project(rows[0])

    async def list(self, user_id: UserId) -> builtins.list[Project]:
        """A person's projects, the newest first."""
        rows = await repeatable(
            self._pool,
            "select * from public.projects where user_id = $1 and status <> 'deleted'"
            " order by created_at desc, id desc",
            user_id,
        )
        return [_project(row) for row in rows]


def _project(row: Record) -> Project:
    return Project(
        id=ProjectId(row["id"]),
        user_id=UserId(row["user_id"]),
        name=row["name"],
        slug=row["slug"],
        sdk=int(row["expo_config"].get("sdk", 54)),
        template_id=row["template_id"],
        head_revision_id=RevisionId(row["head_revision_id"]) if row["head_revision_id"] else None,
        status=row["status"],
    )
