"""mobvibe-tui up, down, status: the environment by itself."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any

from mobvibe_app.cli.output import Output
from mobvibe_app.environment.environment import Environment
from mobvibe_app.settings import AppSettings
from mobvibe_worker.home import Home


async def up(settings: AppSettings, out: Output) -> int:
    """Start Postgres, bring its schema up to date, and leave it running until `down`."""
    environment = Environment(settings)
    try:
        dsn = await environment.start(out.status)
        await environment.migrate(dsn)
        await environment.hold()
    finally:
        await environment.close()
    out.note("running until `mobvibe-tui down`; `mobvibe-tui db url` prints its address")
    if out.is_json:
        out.value({"status": "up"})
    return 0


async def down(settings: AppSettings, out: Output) -> int:
    """Stop everything of this home; what is running elsewhere in it ends too."""
    stopped = await Environment(settings).shut_down()
    out.note("stopped" if stopped else "nothing was running")
    if out.is_json:
        out.value({"status": "down", "stopped": stopped})
    return 0


async def status(settings: AppSettings, out: Output) -> int:
    """Print what runs in this home, without starting anything."""
    services = await Environment(settings).running()
    home = Home(settings.home)
    if out.is_json:
        out.value({"home": str(home.root), "services": [asdict(service) for service in services]})
        return 0
    out.line(f"home: {home.root}")
    for service in services:
        port = f"  port {service.facts['port']}" if "port" in service.facts else ""
        out.line(f"  {service.name:<24} running{port}  pid {service.pid}")
    if not services:
        out.line("  nothing runs; `mobvibe-tui` or `mobvibe-tui up` starts it")
    return 0


COMMANDS: dict[str, Callable[[AppSettings, Output], Coroutine[Any, Any, int]]] = {
    "up": up,
    "down": down,
    "status": status,
}
