"""What this machine has and lacks for mobvibe-tui: one finding for each thing looked at."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from mobvibe_app.environment.modes import SERVICES, Modes
from mobvibe_app.postgres.cluster import Cluster
from mobvibe_app.preview.network import is_reachable, lan_address
from mobvibe_app.settings import AppSettings
from mobvibe_worker.errors import MobvibeError, ServiceError
from mobvibe_worker.home import Home
from mobvibe_worker.store.connection.pool import check_health, open_pool
from mobvibe_worker.toolchain.node import find_node
from mobvibe_worker.toolchain.sdks import sdk, sdk_versions

NEEDED_BYTES = 2_000_000_000
PROBE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. It is fine even if it is missing, as long as a demo does not need it."""

    name: str
    is_fine: bool
    detail: str
    remedy: str = ""


def examine(settings: AppSettings) -> list[Finding]:
    """Look at everything that mobvibe-tui needs on this machine. Blocks. Creates the home's folders."""
    home = Home(settings.home)
    looks: dict[str, Callable[[], str]] = {
        "home": lambda: _home(home),
        "disk": lambda: _disk(home),
        "docker": lambda: _docker(settings, home),
        "postgres": lambda: _database(settings) if settings.database_url else _postgres(home),
        **{f"node for SDK {one}": _node_for(one) for one in sdk_versions()},
        "address": lambda: _address(settings),
        "model": lambda: _model(settings),
    }
    return [_look(name, look) for name, look in looks.items()]


def _look(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except MobvibeError as error:
        return Finding(name, False, error.message, error.remedy)


def _home(home: Home) -> str:
    home.prepare()
    return str(home.root)


def _disk(home: Home) -> str:
    free = shutil.disk_usage(home.root if home.root.exists() else home.root.anchor).free
    if free < NEEDED_BYTES:
        raise MobvibeError(
            f"Only {free / 1e9:.1f} GB are free.", "Free some space; Expo's packages need 1 GB."
        )
    return f"{free / 1e9:.0f} GB free"


def _docker(settings: AppSettings, home: Home) -> str:
    """The engine, or why there is none. Raises ServiceError only if a service of this home is meant to use it."""
    from mobvibe_app.containers.engine import DockerEngine

    modes = Modes(home)
    asked = {"postgres": settings.postgres, "preview": settings.preview}
    users = [
        name
        for name in SERVICES
        if "docker" in (asked[name], modes.chosen(name) if asked[name] == "auto" else None)
    ]
    if settings.database_url is not None and "postgres" in users:
        users.remove("postgres")
    try:
        engine = DockerEngine.connect()
    except ServiceError as error:
        if users:
            raise
        return f"not used: {error.message}"
    try:
        used = f"; used by {' and '.join(users)}" if users else ""
        return f"{engine.version()} at {engine.address}{used}"
    finally:
        engine.close()


def _postgres(home: Home) -> str:
    argv = [*Cluster(home).program("postgres"), "--version"]
    try:
        finished = subprocess.run(argv, capture_output=True, text=True, timeout=PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MobvibeError(
            f"The embedded Postgres does not run: {error}.", "Set DATABASE_URL to another one."
        ) from error
    if finished.returncode:
        raise MobvibeError(
            f"The embedded Postgres does not run: {finished.stderr.strip()[:200]}",
            "As root it needs user namespaces; use another account, or set DATABASE_URL.",
        )
    return f"{finished.stdout.strip()}, embedded"


def _database(settings: AppSettings) -> str:
    assert settings.database_url is not None
    return asyncio.run(_health(settings.database_url.get_secret_value()))


async def _health(dsn: str) -> str:
    pool = await open_pool(dsn, size=1)
    try:
        health = await check_health(pool)
    finally:
        await pool.close()
    return f"PostgreSQL {health.server_version} answers in {health.milliseconds:.0f} ms"


def _node_for(version: int) -> Callable[[], str]:
    def look() -> str:
        node = find_node(sdk(version).minimum_node)
        return f"{'.'.join(map(str, node.version))}, {node.executable}"

    return look


def _address(settings: AppSettings) -> str:
    address = lan_address(settings.host)
    if not is_reachable(address):
        raise MobvibeError(
            f"Phones cannot reach {address}.", "Join a network, or set --host ADDRESS."
        )
    return address


def _model(settings: AppSettings) -> str:
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if settings.has_model:
        return f"{settings.model}; {where}"
    return f"no ANTHROPIC_API_KEY: demos only (mobvibe-tui demo); {where}"
