"""Builds the objects of a run. This is the only module that knows all concrete classes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mobvibe_app.settings import AppSettings
from mobvibe_app.studio.changes import DemoSummary

if TYPE_CHECKING:
    from asyncpg import Pool

    from mobvibe_app.environment.environment import Environment
    from mobvibe_app.preview.head_mirror import HeadMirror
    from mobvibe_app.preview.monitor import PreviewMonitor
    from mobvibe_app.preview.reconcile import Reconciler
    from mobvibe_app.status import OnStatus
    from mobvibe_app.studio.backend import Backend, View
    from mobvibe_app.studio.feed import Feed
    from mobvibe_app.studio.studio import Studio
    from mobvibe_app.ui.app import MobvibeApp
    from mobvibe_worker.jobs import UserId
    from mobvibe_worker.runner.with_retention import WorkerWithRetention
    from mobvibe_worker.store.connection.listener import Listener
    from mobvibe_worker.store.stores import Stores
    from mobvibe_worker.toolchain.sandbox import Sandbox


def demo_summaries() -> tuple[DemoSummary, ...]:
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

    connect = partial(open_backend, settings, has_worker)
    environment = build_environment(settings)
    return Studio(settings, environment, Maintenance(environment), connect, demo_summaries())


def build_dashboard(settings: AppSettings) -> MobvibeApp:
    """The dashboard; what is slow to import is imported after its first paint."""
    from importlib.metadata import version

    from mobvibe_app.ui.app import MobvibeApp

    def build_feed() -> Feed:
        from mobvibe_app.studio.feed import Feed

        return Feed(build_studio(settings), settings.view_as)

    label = settings.model if settings.has_model else "demo: recorded, no cost"
    return MobvibeApp(
        build_feed,
        version=version("mobvibe-tui"),
        model_label=label,
        demos=demo_summaries(),
    )


@asynccontextmanager
async def open_backend(
    settings: AppSettings, has_worker: bool, dsn: str, environment: Environment
) -> AsyncIterator[Backend]:
    """The objects that use the database at `dsn`, for as long as the context is open. Raises StoreError."""
    from mobvibe_app.preview.monitor import PreviewMonitor
    from mobvibe_app.studio.backend import Backend, NoWorker
    from mobvibe_worker.jobs import LOCAL_OWNER
    from mobvibe_worker.store.connection.listener import Listener
    from mobvibe_worker.store.connection.pool import open_pool
    from mobvibe_worker.store.stores import Stores

    slow = settings.slow_query_ms / 1000
    async with AsyncExitStack() as stack:
        pool = await open_pool(dsn, application_name="mobvibe-tui", slow_seconds=slow)
        stack.push_async_callback(pool.close)
        listener = await stack.enter_async_context(Listener(settings.session_url(dsn)))
        monitor = PreviewMonitor(environment.previews.of_sdk)
        stack.push_async_callback(monitor.close)
        stores = Stores(pool)
        mirror, reconciler = _previews(settings, environment, stores, listener, monitor)
        sandbox = environment.services.sandbox(environment.report)
        yield Backend(
            stores=stores,
            own=_view(settings, stores, listener, LOCAL_OWNER, home_id=mirror.home_id),
            mirror=mirror,
            reconciler=reconciler,
            worker=_worker(settings, dsn, stores, listener, sandbox) if has_worker else NoWorker(),
            see_as=partial(_view_as, settings, pool, listener),
        )


def _view(
    settings: AppSettings,
    stores: Stores,
    listener: Listener,
    owner: UserId,
    *,
    email: str | None = None,
    home_id: str | None = None,
) -> View:
    """A person's view. The local owner's has no email, and is the only one that can start builds in this home."""
    from mobvibe_app.studio.backend import View
    from mobvibe_app.studio.conversations import Conversations
    from mobvibe_app.studio.overview import Overview

    poll = settings.poll_interval_ms / 1000
    return View(
        email,
        Conversations(stores, owner, home_id),
        Overview(stores, listener, owner, is_own=email is None),
        partial(stores.events.follow, listener, poll_seconds=poll),
    )


async def _view_as(settings: AppSettings, pool: Pool, listener: Listener, email: str) -> View:
    from mobvibe_worker.store.connection.user_view import UserView
    from mobvibe_worker.store.stores import Stores

    person = await Stores(pool).profiles.person(email)
    stores = Stores(UserView(pool, person))
    return _view(settings, stores, listener, person.id, email=person.email)


def _previews(
    settings: AppSettings,
    environment: Environment,
    stores: Stores,
    listener: Listener,
    monitor: PreviewMonitor,
) -> tuple[HeadMirror, Reconciler]:
    from mobvibe_app.preview.head_mirror import HeadMirror
    from mobvibe_app.preview.network import lan_address
    from mobvibe_app.preview.reconcile import Reconciler
    from mobvibe_worker.home import Home
    from mobvibe_worker.jobs import LOCAL_OWNER

    home_id, minutes = environment.services.modes.home_id(), settings.preview_idle_minutes
    mirror = HeadMirror(
        home=Home(settings.home),
        home_id=home_id,
        owner=LOCAL_OWNER,
        stores=stores,
        serve_folder=environment.previews.serve,
        listener=listener,
        monitor=monitor,
        on_status=environment.report,
    )
    reconciler = Reconciler(
        home_id=home_id,
        owner=LOCAL_OWNER,
        stores=stores,
        mirror=mirror,
        previews=environment.previews,
        monitor=monitor,
        on_status=environment.report,
        idle_after=timedelta(minutes=minutes) if minutes else None,
        address=lambda: lan_address(settings.host),
    )
    return mirror, reconciler


def _worker(
    settings: AppSettings, dsn: str, stores: Stores, listener: Listener, sandbox: Sandbox | None
) -> WorkerWithRetention:
    from mobvibe_worker.runner.wiring import build_retention, build_worker
    from mobvibe_worker.runner.with_retention import WorkerWithRetention

    password = urlsplit(dsn).password
    masked = (dsn, unquote(password)) if password else (dsn,)
    return WorkerWithRetention(
        build_worker(settings, stores, listener, masked, sandbox),
        build_retention(settings, stores),
    )
