"""Projects: the apps that people build."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import cast

from mobvibe_worker.errors import Conflict, InputError, NotFound
from mobvibe_worker.jobs import ProjectId, RevisionId, UserId
from mobvibe_worker.store.connection.rows import ProjectsInsert, ProjectsRow
from mobvibe_worker.store.connection.sql import Source
from mobvibe_worker.store.rules import NAME_LIMIT, ProjectStatus, checked
from mobvibe_worker.store.tables import PROJECTS, sdk_of


@dataclass(frozen=True, slots=True)
class Project:
    """One project. `sdk` is the Expo SDK's major version."""

    id: ProjectId
    user_id: UserId
    name: str
    slug: str
    sdk: int
    template_id: str | None
    head_revision_id: RevisionId | None
    status: ProjectStatus
    description: str | None = None


class ProjectStore:
    """Creates and finds projects. `by_slug` and `list` leave out deleted ones."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def create(
        self,
        user_id: UserId,
        name: str,
        sdk: int,
        template_id: str | None = None,
        slug: str | None = None,
    ) -> Project:
        """Create a project. Without `slug` it is derived from the name. Raises InputError for a taken slug."""
        checked(name, "name of a project", NAME_LIMIT)
        # If the slug is null, a trigger derives it from the name.
        values = ProjectsInsert(
            user_id=user_id,
            name=name,
            slug=cast(str, slug),
            template_id=template_id,
            expo_config={"sdk": sdk},
        )
        try:
            row = await PROJECTS.insert(self._source, values)
        except Conflict as error:
            raise InputError(
                f"There is a project {slug!r} already.", "Choose another name."
            ) from error
        return _project(row)

    async def get(self, project_id: ProjectId) -> Project:
        """One project, even if deleted. Raises NotFound."""
        rows = await PROJECTS.find(self._source, "id = $1", project_id)
        if not rows:
            raise NotFound(f"There is no project {project_id}.")
        return _project(rows[0])

    async def by_slug(self, user_id: UserId, slug: str) -> Project:
        """A person's project by its slug. Raises NotFound."""
        condition = "user_id = $1 and slug = $2 and status <> 'deleted'"
        rows = await PROJECTS.find(self._source, condition, user_id, slug)
        if not rows:
            raise NotFound(f"There is no project {slug!r}.")
        return _project(rows[0])

    async def list(self, user_id: UserId) -> builtins.list[Project]:
        condition = "user_id = $1 and status <> 'deleted' order by created_at desc, id desc"
        return [_project(row) for row in await PROJECTS.find(self._source, condition, user_id)]


def _project(row: ProjectsRow) -> Project:
    return Project(
        id=ProjectId(row.id),
        user_id=UserId(row.user_id),
        name=row.name,
        slug=row.slug,
        sdk=sdk_of(row),
        template_id=row.template_id,
        head_revision_id=RevisionId(row.head_revision_id) if row.head_revision_id else None,
        status=row.status,
        description=row.description,
    )
