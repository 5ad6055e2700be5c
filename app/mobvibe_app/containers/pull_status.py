"""A pull, told as the status of the service that waits for it: bytes and share, not more often than one can read."""

from __future__ import annotations

import time

from mobvibe_app.containers.images import OnPulled, Pulled
from mobvibe_app.status import OnStatus, ServiceName, ServiceStatus

_PAUSE_SECONDS = 0.1


def pulling(name: ServiceName, image: str, on_status: OnStatus) -> OnPulled:
    """What hears of the pull and passes it on as a status of that service."""
    last = -_PAUSE_SECONDS

    def hear(pulled: Pulled) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PAUSE_SECONDS and pulled.got < pulled.of:
            return
        last = now
        on_status(
            ServiceStatus(
                name,
                "downloading",
                f"{image}, {pulled.got / 1e6:.1f} of {pulled.of / 1e6:.1f} MB"
                + (", unpacking" if pulled.phase == "extracting" else ""),
                progress=pulled.got / pulled.of,
                got_bytes=pulled.got,
                all_bytes=pulled.of,
            )
        )

    return hear
