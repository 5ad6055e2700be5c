"""One handle on every store over one source."""

from __future__ import annotations

from mobvibe_worker.store.claims import Claims
from mobvibe_worker.store.connection.sql import Source
from mobvibe_worker.store.event_log import EventLog
from mobvibe_worker.store.job_queue import JobQueue
from mobvibe_worker.store.previews import PreviewRegistry
from mobvibe_worker.store.profiles import ProfileStore
from mobvibe_worker.store.projects import ProjectStore
from mobvibe_worker.store.retention import RetentionStore
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.store.turns import TurnLedger
from mobvibe_worker.store.workers import WorkerRegistry


class Stores:
    """The tables of one database. `source` is a pool, or one person's view of it (UserView)."""

    def __init__(self, source: Source) -> None:
        self.queue = JobQueue(source)
        self.claims = Claims(source)
        self.projects = ProjectStore(source)
        self.sessions = SessionStore(source)
        self.events = EventLog(source)
        self.revisions = RevisionStore(source)
        self.turns = TurnLedger(source)
        self.previews = PreviewRegistry(source)
        self.workers = WorkerRegistry(source)
        self.profiles = ProfileStore(source)
        self.retention = RetentionStore(source)
