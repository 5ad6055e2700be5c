"""The tables, each with the row type that the code reads."""

from __future__ import annotations

from mobvibe_worker.store.connection.rows import (
    CodingJobsRow,
    CodingSessionsRow,
    PreviewContainersRow,
    ProfilesRow,
    ProjectBlobsRow,
    ProjectFilesRow,
    ProjectRevisionsRow,
    ProjectsRow,
    SessionEventsRow,
    WorkersRow,
)
from mobvibe_worker.store.connection.sql import Table

PROFILES = Table("profiles", ProfilesRow)
PROJECTS = Table("projects", ProjectsRow)
SESSIONS = Table("coding_sessions", CodingSessionsRow)
JOBS = Table("coding_jobs", CodingJobsRow)
EVENTS = Table("session_events", SessionEventsRow, key="seq")
REVISIONS = Table("project_revisions", ProjectRevisionsRow)
FILES = Table("project_files", ProjectFilesRow)
BLOBS = Table("project_blobs", ProjectBlobsRow, key="sha256")
PREVIEWS = Table("preview_containers", PreviewContainersRow)
WORKERS = Table("workers", WorkersRow)

DEFAULT_SDK = 54


def sdk_of(project: ProjectsRow) -> int:
    return int(project.expo_config.get("sdk", DEFAULT_SDK))
