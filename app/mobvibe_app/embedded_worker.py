"""The worker inside the program: the only importer of the runner."""

from __future__ import annotations

from asyncpg import Pool

from mobvibe_app.environment.postgres_cluster import Cluster
from mobvibe_app.settings import AppSettings
from mobvibe_worker.home import Home
from mobvibe_worker.runner.assembly import build_worker
from mobvibe_worker.runner.worker import Worker
from mobvibe_worker.store.listener import Listener


class EmbeddedWorker:
    """Runs jobs beside the screens; to the queue it is a worker like any other."""

    def __init__(self, settings: AppSettings, pool: Pool, listener: Listener) -> None:
        embedded = () if settings.database_url else (Cluster(Home(settings.home)).password(),)
        self._worker: Worker = build_worker(settings, pool, listener, embedded)

    async def run(self) -> None:
        """Work until `stop`; what runs then is handed back."""
        await self._worker.run()

    def stop(self) -> None:
        """Claim nothing more and hand back what runs."""
        self._worker.stop()
