"""Mirrors head revisions from Postgres into served folders, hosts their Metro, and says when one is ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from mobvibe_app.changes import PreviewAddress, ServiceStatus
from mobvibe_app.environment.environment import Environment
from mobvibe_worker.errors import HeadMoved, MobvibeError, NotFound
from mobvibe_worker.events import PreviewReady
from mobvibe_worker.home import Home
from mobvibe_worker.jobs import LOCAL_OWNER, JobId, ProjectId, SessionId
from mobvibe_worker.revisions import Revision
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.listener import Listener
from mobvibe_worker.store.previews import PreviewRegistry
from mobvibe_worker.store.projects import Project, ProjectStore
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.workspace.publish import ServedFolder
from mobvibe_worker.workspace.tree import merge

log = logging.getLogger(__name__)
HEAD_CHANNEL = "project_head"
