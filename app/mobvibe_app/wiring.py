"""Builds every object once; the one place that knows all concrete classes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mobvibe_app.settings import AppSettings
from mobvibe_app.studio.changes import DemoSummary

if TYPE_CHECKING:
    from asyncpg import Pool

    from mobvibe_app.environment.environment import Environment
    from mobvibe_app.preview.head_mirror import HeadMirror
    from mobvibe_app.preview.reconcile import Reconciler
    from mobvibe_app.status import OnStatus
    from mobvibe_app.studio.embedded_worker import EmbeddedWorker
    from mobvibe_app.studio.feed import Feed
    from mobvibe_app.studio.studio import Connected, Studio, View
    from mobvibe_app.ui.app import MobvibeApp
    from mobvibe_worker.store.connection.listener import Listener
    from mobvibe_worker.store.stores import Stores
    from mobvibe_worker.toolchain.sandbox import Sandbox


def demo_summaries() -> tuple[DemoSummary, ...]:
    """The recordings that the program ships."""
    from mobvibe_worker.agent.recordings import load_recordings

    return tuple(
        DemoSummary(recording.name, recording.title, recording.prompt, recording.changes)
        for recording in load_recordings()
    )


def build_environment(settings: AppSettings, on_status: OnStatus | None = None) -> Environment:
    """The environment of the home that the settings name, not started yet."""
    from mobvibe_app.environment.environment import Environment
    from mobvibe_app.environment.services import Services
    from mobvibe_worker.home import Home

    return Environment(settings, Services(settings, Home(settings.home)), on_status)


@asynccontextmanager
async def open_database(
    settings: AppSettings, on_status: OnStatus, branch: str | None = None
) -> AsyncIterator[str]:
    """The database's address, a secret; Postgres runs for as long as the context is open.

    It is DIRECT_URL if that is set, and with `branch` the address of that branch. Raises ServiceError, NotFound.
    """
    environment = build_environment(settings)
    try:
        dsn = settings.session_url(await environment.start(on_status))
        if branch is not None:
            from mobvibe_worker.store.schema.branches import Branches

            branches = Branches(dsn)
            await branches.get(branch)
            dsn = branches.url(branch)
        yield dsn
    finally:
        await environment.close()


def build_studio(settings: AppSettings, *, has_worker: bool = True) -> Studio:
    """A studio that is not open yet; without a worker it only serves previews."""
    from mobvibe_app.environment.maintenance import Maintenance
    from mobvibe_app.studio.studio import Studio

    @asynccontextmanager
    async def connect(dsn: str, environment: Environment) -> AsyncIterator[Connected]:
        async with _connected(settings, dsn, environment, has_worker) as connected:
            yield connected

    environment = build_environment(settings)
    return Studio(settings, environment, Maintenance(environment), connect, demo_summaries())


def build_dashboard(settings: AppSettings) -> MobvibeApp:
    """The dashboard; what is slow to import is imported after its first paint."""
    from importlib.metadata import version

    from mobvibe_app.ui.app import MobvibeApp
    from mobvibe_app.ui.deferred_feed import DeferredFeed

    def build_feed() -> Feed:
        from mobvibe_app.studio.feed import Feed

        return Feed(build_studio(settings), settings.view_as)

    label = settings.model if settings.has_model else "demo: recorded, no cost"
    return MobvibeApp(
        DeferredFeed(build_feed),
        version=version("mobvibe-tui"),
        model_label=label,
        demos=demo_summaries(),
    )


@asynccontextmanager
async def _connected(
    settings: AppSettings, dsn: str, environment: Environment, has_worker: bool
) -> AsyncIterator[Connected]:
    from mobvibe_app.studio.conversations import Conversations
    from mobvibe_app.studio.overview import Overview
    from mobvibe_app.studio.studio import Connected, NoWorker, View
    from mobvibe_worker.jobs import LOCAL_OWNER
    from mobvibe_worker.store.connection.listener import Listener
    from mobvibe_worker.store.connection.pool import open_pool
    from mobvibe_worker.store.stores import Stores

    poll = settings.poll_interval_ms / 1000
    pool = await open_pool(
        dsn, application_name="mobvibe-tui", slow_seconds=settings.slow_query_ms / 1000
    )
    try:
        async with Listener(settings.session_url(dsn)) as listener:
            stores, home_id = Stores(pool), environment.services.modes.home_id()
            sandbox = environment.services.sandbox(environment.report)
            async with _previews(settings, environment, stores, listener, home_id) as (
                mirror,
                reconciler,
            ):
                yield Connected(
                    stores=stores,
                    own=View(
                        None,
                        Conversations(stores, listener, LOCAL_OWNER, poll, home_id),
                        Overview(stores, listener, LOCAL_OWNER),
                    ),
                    mirror=mirror,
                    reconciler=reconciler,
                    worker=_worker(settings, dsn, pool, listener, sandbox)
                    if has_worker
                    else NoWorker(),
                    see_as=lambda email: _view(pool, listener, email, poll),
                )
    finally:
        await pool.close()


def _worker(
    settings: AppSettings, dsn: str, pool: Pool, listener: Listener, sandbox: Sandbox | None
) -> EmbeddedWorker:
    from mobvibe_app.studio.embedded_worker import EmbeddedWorker
    from mobvibe_worker.runner.wiring import build_retention, build_worker

    password = urlsplit(dsn).password
    masked = (dsn, unquote(password)) if password else (dsn,)
    return EmbeddedWorker(
        build_worker(settings, pool, listener, masked, sandbox), build_retention(settings, pool)
    )


@asynccontextmanager
async def _previews(
    settings: AppSettings,
    environment: Environment,
    stores: Stores,
    listener: Listener,
    home_id: str,
) -> AsyncIterator[tuple[HeadMirror, Reconciler]]:
    from mobvibe_app.preview.head_mirror import HeadMirror
    from mobvibe_app.preview.monitor import PreviewMonitor
    from mobvibe_app.preview.network import lan_address
    from mobvibe_app.preview.reconcile import Reconciler
    from mobvibe_worker.home import Home
    from mobvibe_worker.jobs import LOCAL_OWNER

    monitor = PreviewMonitor(environment.previews)
    mirror = HeadMirror(
        Home(settings.home),
        home_id,
        LOCAL_OWNER,
        stores,
        environment.serve,
        listener,
        monitor,
        environment.report,
    )
    minutes = settings.preview_idle_minutes
    idle_after = timedelta(minutes=minutes) if minutes else None
    reconciler = Reconciler(mirror, environment, idle_after, lambda: lan_address(settings.host))
    try:
        yield mirror, reconciler
    finally:
        await monitor.close()


async def _view(pool: Pool, listener: Listener, email: str, poll_seconds: float) -> View:
    from mobvibe_app.studio.conversations import Conversations
    from mobvibe_app.studio.overview import Overview
    from mobvibe_app.studio.studio import View
    from mobvibe_worker.store.connection.user_view import UserView
    from mobvibe_worker.store.stores import Stores

    person = await Stores(pool).profiles.person(email)
    seen = Stores(UserView(pool, person))
    return View(
        person.email,
        Conversations(seen, listener, person.id, poll_seconds),
        Overview(seen, listener, person.id, is_own=False),
    )
