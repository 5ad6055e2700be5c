"""Reconciles the previews of one real home in tests, with real Metro and real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from asyncpg import Pool

from mobvibe_app.preview.address import PreviewAddress
from mobvibe_app.preview.head_mirror import HeadMirror
from mobvibe_app.preview.monitor import PreviewMonitor
from mobvibe_app.preview.providers.local import PreviewService, RunningPreview, running_previews
from mobvibe_app.preview.providers.process import ProcessPreview
from mobvibe_app.preview.reconcile import Reconciler
from mobvibe_app.status import ServiceStatus
from mobvibe_app.supervisor.client import Supervisor
from mobvibe_worker.errors import ServiceError
from mobvibe_worker.jobs import LOCAL_OWNER, Platform, SessionId
from mobvibe_worker.store.connection.listener import Listener
from mobvibe_worker.store.previews import container_id
from mobvibe_worker.store.projects import Project, ProjectStore
from mobvibe_worker.store.revisions import RevisionStore
from mobvibe_worker.store.sessions import SessionStore
from mobvibe_worker.store.stores import Stores
from support.expo import ExpoSdk
from support.expo import expo_sdk as expo_sdk
from support.polling import within
from support.postgres.database import running_job

HOME_ID = "aaaa1111"
"""The id of the home under test."""


@dataclass
class PreviewBench:
    """Everything a host needs to reconcile the previews of one real home."""

    expo: ExpoSdk
    pool: Pool
    supervised: Supervisor
    listener: Listener
    session_id: SessionId
    project: Project
    reported: list[ServiceStatus] = field(default_factory=list)
    address: str = "127.0.0.1"
    fault: ServiceError | None = None
    serves: int = 0
    """How many times a preview was started or found running."""

    def __post_init__(self) -> None:
        self.service = ProcessPreview(
            self.expo.home, self.supervised, self.expo.node, self.expo.sdk
        )
        self.monitor = PreviewMonitor(self.of_sdk)
        self.mirror = self.mirror_of(HOME_ID)
        self.reconciler = Reconciler(
            home_id=HOME_ID,
            owner=LOCAL_OWNER,
            stores=self.stores,
            mirror=self.mirror,
            previews=self,
            monitor=self.monitor,
            on_status=self.reported.append,
            idle_after=timedelta(minutes=30),
            address=lambda: self.address,
        )

    @property
    def stores(self) -> Stores:
        return Stores(self.pool)

    def mirror_of(self, home_id: str) -> HeadMirror:
        return HeadMirror(
            self.expo.home,
            home_id,
            LOCAL_OWNER,
            self.stores,
            self.serve,
            self.listener,
            self.monitor,
            self.reported.append,
        )

    async def of_sdk(self, version: int) -> PreviewService:
        if self.fault is not None:
            raise self.fault
        return self.service

    async def running(self) -> list[RunningPreview]:
        return await running_previews(self.supervised)

    async def serve(
        self, session_id: SessionId, slug: str, version: int, platform: Platform
    ) -> PreviewAddress:
        self.serves += 1
        served = await self.service.start(slug, address=self.address)
        url = f"exp://{self.address}:{served.port}"
        return PreviewAddress(
            session_id, url, version, "", served.metro_url, "process", slug, platform
        )

    async def reconcile(self) -> dict[str, Any] | None:
        """Reconcile once, then return the preview's row."""
        await self.reconciler.reconcile()
        return await self.row()

    async def row(self, home_id: str = HOME_ID) -> dict[str, Any] | None:
        found = await self.pool.fetchrow(
            "select * from preview_containers where container_id = $1",
            container_id("process", home_id, self.project.slug),
        )
        return dict(found) if found else None

    async def until_row(self, status: str, seconds: float = 30.0) -> dict[str, Any]:
        async with within(seconds):
            while True:
                row = await self.reconcile()
                if row is not None and row["status"] == status:
                    return row
                await asyncio.sleep(0.1)

    @property
    def has_phone(self) -> bool:
        known = self.monitor.known(self.project.slug)
        return known is not None and bool(known.facts.phones)

    @property
    def ended(self) -> str | None:
        known = self.monitor.known(self.project.slug)
        return known.facts.ended if known else None

    async def url_of_session(self) -> str | None:
        return (await SessionStore(self.pool).get(self.session_id)).metro_url


@pytest.fixture
async def preview_bench(
    pool: Pool, database_url: str, expo_sdk: ExpoSdk
) -> AsyncIterator[Callable[[Platform], Awaitable[PreviewBench]]]:
    """Creates a project whose head is an app for the given platform."""
    supervisor = await Supervisor.connect(expo_sdk.home)
    made: list[PreviewBench] = []
    async with Listener(database_url) as listener:

        async def make(platform: Platform) -> PreviewBench:
            job, attempt = await running_job(pool)
            await pool.execute("update coding_sessions set platform = $1", platform)
            project = await ProjectStore(pool).get(job.project_id)
            revisions = RevisionStore(pool)
            files = expo_sdk.starter.files(project.name, project.slug)
            await revisions.commit_template(attempt, files)
            head = await revisions.head(project.id)
            assert head is not None
            edited = {**files, "App.tsx": files["App.tsx"].replace(b"Open up", b"Look at")}
            await revisions.commit_person(project.id, head[0].id, edited)
            await pool.execute("update coding_jobs set status = 'completed', completed_at = now()")
            made.append(PreviewBench(expo_sdk, pool, supervisor, listener, job.session_id, project))
            return made[-1]

        yield make
        for each in made:
            await each.monitor.close()
    await supervisor.shutdown()
    await supervisor.close()
